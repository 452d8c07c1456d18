"""Trained prompts as a classifier of images, for any class names.

from classify import PromptClassifier

classifier = PromptClassifier.load("prompts.safetensors")
print(classifier.classify("photo.jpg"))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classifier import ClassScore, Prediction, PromptClassifier, PromptFile

__all__ = ["ClassScore", "Prediction", "PromptClassifier", "PromptFile"]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used, so that `python -m classify --help` answers at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import classifier

    return getattr(classifier, name)
