"""CLIP, its tokenizer, its weights, and the operations on prompt tokens. Knows no prompt-learning method."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import CLIPConfig
    from .loading import load
    from .model import CLIP
    from .prompt_ops import LayerPrompts, PromptSchedule
    from .tokenizer import tokenize
    from .weights import available_models

__all__ = ["CLIP", "CLIPConfig", "LayerPrompts", "PromptSchedule", "available_models", "load", "tokenize"]
MODULES = ("model", "config", "prompt_ops", "prompt_ops", "weights", "loading", "tokenizer")  # of each name


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported at its first use: `clip.weights` alone needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[__all__.index(name)]}"), name)
