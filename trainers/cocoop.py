"""CoCoOp, conditional context optimisation (Zhou et al., CVPR 2022, arXiv 2203.05557).

CoOp's words, which a small network h shifts for each image x with features f(x):

    v_i(x) = v_i + h(f(x)),    i = 1, …, n
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer
from .coop import ContextWords, check_words
from .prompted_clip import PromptedCLIP

BOTTLENECK = 16  # the hidden layer is E / 16 wide (arXiv 2203.05557, section 4, "meta-network")


def extend_cfg(cfg: Any) -> None:
    cfg.TRAINER.COCOOP = CfgNode()
    cfg.TRAINER.COCOOP.N_CTX = 16  # n >= 1: learned words; with CTX_INIT, it must be the number of its words
    cfg.TRAINER.COCOOP.CTX_INIT = ""  # words to start from, such as "a photo of a"; "" for random vectors
    cfg.TRAINER.COCOOP.PREC = "fp16"  # fp16, bf16, amp or fp32


def meta_net(embed_dim: int, bottleneck: int, activation: nn.Module, width: int) -> nn.Sequential:
    """A network `[E] -> [width]` whose hidden layer is E / bottleneck wide."""
    hidden = embed_dim // bottleneck
    linear1, linear2 = nn.Linear(embed_dim, hidden), nn.Linear(hidden, width)
    return nn.Sequential(OrderedDict(linear1=linear1, activation=activation, linear2=linear2))


class ConditionalWords(ContextWords):
    """CoOp's words `ctx` `[n, D]`, and the network `meta_net` `[E] -> [D]` that shifts them."""

    def __init__(self, clip: CLIP, classnames: Sequence[str], n_ctx: int, ctx_init: str = "") -> None:
        super().__init__(clip, classnames, n_ctx, ctx_init)
        self.meta_net = meta_net(clip.config.embed_dim, BOTTLENECK, nn.ReLU(), clip.config.text_width)

    def context_of(self, image_features: Tensor) -> Tensor:
        """Words `[B, n, D]` for images of normalised features `[B, E]`."""
        return self.ctx + self.meta_net(image_features).unsqueeze(1)


class ConditionallyPromptedCLIP(PromptedCLIP):
    """A prompted CLIP that encodes the class prompts of each image."""

    prompt_learner: ConditionalWords

    def text_features_of(self, image_features: Tensor) -> Tensor:
        """Normalised class features `[B, C, E]` for images of features `[B, E]`, encoded image by image."""
        contexts = self.prompt_learner.context_of(image_features)
        texts = (self.prompt_learner.text_with(ctx) for ctx in contexts)
        return F.normalize(torch.stack([self.encode_text_prompts(text) for text in texts]), dim=-1)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As those of a prompted CLIP, but the class features are `[B, C, E]`."""
        image_features = self.image_features(images)
        text_features = self.text_features_of(image_features)
        pairs = zip(image_features, text_features, strict=True)
        return torch.stack([self.logits(*pair) for pair in pairs]), image_features, text_features


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    has_static_step = True
    model_class = ConditionallyPromptedCLIP

    @classmethod
    def check_cfg(cls, cfg: Any) -> None:
        super().check_cfg(cfg)
        s = cfg.TRAINER.COCOOP
        check_words("TRAINER.COCOOP", s.N_CTX, s.CTX_INIT)

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ConditionalWords:
        s = cfg.TRAINER.COCOOP
        return ConditionalWords(clip_model, classnames, s.N_CTX, s.CTX_INIT)
