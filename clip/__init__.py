"""CLIP, its tokenizer, its weights, and the operations on prompt tokens. Knows no prompt-learning method."""

from .config import CLIPConfig
from .model import CLIP
from .prompt_ops import LayerPrompts, PromptSchedule
from .tokenizer import tokenize
from .weights import available_models, load

__all__ = ["CLIP", "CLIPConfig", "LayerPrompts", "PromptSchedule", "available_models", "load", "tokenize"]
