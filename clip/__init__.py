"""CLIP, its tokenizer, its weights and the operations on prompt tokens; knows no prompt-learning method by name."""

from .config import CLIPConfig
from .model import CLIP
from .prompt_ops import LayerPrompts, PromptSchedule, PromptSpan
from .tokenizer import Tokenizer, tokenize
from .weights import available_models, load

__all__ = ["CLIP", "CLIPConfig", "LayerPrompts", "PromptSchedule", "PromptSpan", "Tokenizer", "available_models", "load", "tokenize"]
