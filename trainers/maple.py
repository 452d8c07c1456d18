"""MaPLe, multi-modal prompt learning, Khattak et al., CVPR 2023, arXiv 2210.03117.

Learned prompts in both towers, coupled by linear maps from the text to the vision prompts; each of the layers 1 to J - 1 replaces all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts, PromptSchedule
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, check_depth, require_vit
from .prompts import PromptLearner, TextPrompts, learned_words, random_prompts


def extend_cfg(cfg: Any) -> None:
    """Declare ``TRAINER.MAPLE``."""
    cfg.TRAINER.MAPLE = CfgNode()
    cfg.TRAINER.MAPLE.N_CTX = 2  # n >= 1: learned tokens of each layer, in each tower
    cfg.TRAINER.MAPLE.CTX_INIT = "a photo of a"  # with n <= 4, its first n words are learned and the others stay
    cfg.TRAINER.MAPLE.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.MAPLE.PROMPT_DEPTH = 9  # J, 1 to the number of layers of the shallower tower


class MaPLePrompts(PromptLearner):
    """The learned tokens and maps of MaPLe.

    Args:
        clip: gives widths, word vectors and context length.
        classnames: C names.
        n_ctx: n.
        ctx_init: words of which the first n are learned.
        prompt_depth: J.

    Parameters, under their published names: ``ctx`` ``[n, D_text]``; ``compound_prompts_text.{l-1}`` ``[n, D_text]``, the text prompts of layer l;
    ``proj`` and ``compound_prompt_projections.{l-1}``, their linear maps into the image tower.
    """

    def __init__(self, clip: CLIP, classnames: Sequence[str], n_ctx: int, ctx_init: str, prompt_depth: int) -> None:
        super().__init__()
        text_width, vision_width = clip.config.text_width, clip.config.vision_width
        self.text_schedule = PromptSchedule.replace_all(clip.config.text_layers, n_ctx, prompt_depth, "text tower")
        self.vision_schedule = PromptSchedule.replace_all(clip.config.vit_layers, n_ctx, prompt_depth, "image tower")
        self.class_prompts, start = learned_words(clip, classnames, n_ctx, ctx_init)
        self.ctx = nn.Parameter(start)
        self.proj = nn.Linear(text_width, vision_width)
        self.compound_prompts_text = nn.ParameterList(nn.Parameter(random_prompts(n_ctx, text_width)) for _ in range(prompt_depth - 1))
        shared_start = nn.Linear(text_width, vision_width)
        self.compound_prompt_projections = nn.ModuleList(deepcopy(shared_start) for _ in range(prompt_depth - 1))

    def text(self) -> TextPrompts:
        return self.class_prompts.text(self.ctx, LayerPrompts(self.text_schedule, [self.ctx, *self.compound_prompts_text]))

    def vision(self) -> LayerPrompts:
        mapped = [project(p) for project, p in zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)]
        return LayerPrompts(self.vision_schedule, [self.proj(self.ctx), *mapped])

    def text_parameters(self) -> list[Tensor]:
        return [self.ctx, *self.compound_prompts_text]


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """MaPLe: every layer replaces all prompts; vision prompts are mapped from text prompts."""

    checkpoint_name = "MultiModalPromptLearner"
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MaPLePrompts:
        """MaPLe's prompts by ``cfg.TRAINER.MAPLE``."""
        s = cfg.TRAINER.MAPLE
        require_vit(cfg, clip_model)
        check_depth("TRAINER.MAPLE.PROMPT_DEPTH", s.PROMPT_DEPTH, 1, clip_model.config.text_layers, clip_model.config.vit_layers)
        return MaPLePrompts(clip_model, classnames, s.N_CTX, s.CTX_INIT, s.PROMPT_DEPTH)
