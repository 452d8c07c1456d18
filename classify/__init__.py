"""Using what was trained: from a prompt file to predictions on pictures and class names of one's own.

from classify import PromptClassifier

classifier = PromptClassifier.load("prompts.safetensors")
print(classifier.classify("photo.jpg"))
"""

from trainers.prompt_file import PromptFile, PromptFileError

from .classifier import PromptClassifier
from .pictures import UnreadablePicture
from .predictions import ClassScore, Prediction

__all__ = ["ClassScore", "Prediction", "PromptClassifier", "PromptFile", "PromptFileError", "UnreadablePicture"]
