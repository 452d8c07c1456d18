"""IVLP, independent vision-language prompts, the uncoupled counterpart of MaPLe (Khattak et al., 2023, arXiv 2210.03117, table 1).

Free prompts in each tower, each with a number and a depth of its own; every layer replaces all of them. With no vision prompts it learns language alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, check_depth, require_vit
from .prompts import DeepPrompts, PromptLearner, TextPrompts, fixed_words, learned_words


def extend_cfg(cfg: Any) -> None:
    """Declare ``TRAINER.IVLP``."""
    cfg.TRAINER.IVLP = CfgNode()
    cfg.TRAINER.IVLP.N_CTX_VISION = 2  # learned tokens of each layer of the image tower
    cfg.TRAINER.IVLP.N_CTX_TEXT = 2  # learned tokens of each layer of the text tower
    cfg.TRAINER.IVLP.CTX_INIT = "a photo of a"  # with N_CTX_TEXT <= 4, its first words are learned and the others stay
    cfg.TRAINER.IVLP.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.IVLP.PROMPT_DEPTH_VISION = 9  # layers with prompts; 0 for no vision prompts
    cfg.TRAINER.IVLP.PROMPT_DEPTH_TEXT = 9  # layers with prompts; 0 for the words of CTX_INIT alone, as VPT has them


class IndependentPrompts(PromptLearner):
    """Free prompts in both towers.

    Args:
        clip: gives widths, word vectors and context length.
        classnames: C names.
        ctx_init: words of which the first ``n_ctx_text`` are learned.
        n_ctx_text, n_ctx_vision: prompts of each layer of a tower.
        depth_text, depth_vision: layers with prompts, 0 for none.

    Published names: ``prompt_learner.ctx`` ``[n, D_text]``, ``image_encoder.VPT`` ``[n, D_vision]`` and a ``VPT_shallow`` in each deeper block.
    """

    def __init__(
        self,
        clip: CLIP,
        classnames: Sequence[str],
        ctx_init: str,
        n_ctx_text: int,
        depth_text: int,
        n_ctx_vision: int,
        depth_vision: int,
    ) -> None:
        super().__init__()
        self.classnames = list(classnames)
        c = clip.config
        self.ctx: nn.Parameter | None = None
        self.text_prompts: DeepPrompts | None = None
        self.vision_prompts: DeepPrompts | None = None
        if depth_text and n_ctx_text:
            self.class_prompts, start = learned_words(clip, classnames, n_ctx_text, ctx_init)
            self.ctx = nn.Parameter(start)
            self.text_prompts = DeepPrompts(n_ctx_text, depth_text, c.text_layers, c.text_width, "text tower", has_initial=False)
        else:
            self.class_prompts = fixed_words(clip, classnames, ctx_init)
        if depth_vision and n_ctx_vision:
            self.vision_prompts = DeepPrompts(n_ctx_vision, depth_vision, c.vit_layers, c.vision_width, "image tower")

    def text(self) -> TextPrompts:
        if self.ctx is None or self.text_prompts is None:
            return self.class_prompts.text()
        deep = self.text_prompts.layer_prompts(self.ctx)
        return self.class_prompts.text(self.ctx, deep)

    def vision(self) -> LayerPrompts | None:
        return None if self.vision_prompts is None else self.vision_prompts.layer_prompts()

    def text_parameters(self) -> list[Tensor]:
        if self.ctx is None or self.text_prompts is None:
            return []
        return [self.ctx, *self.text_prompts.parameters()]

    def published_names(self) -> dict[str, nn.Parameter]:
        names = {} if self.ctx is None else {"prompt_learner.ctx": self.ctx}
        for encoder, prompts in (("text_encoder", self.text_prompts), ("image_encoder", self.vision_prompts)):
            names |= {} if prompts is None else prompts.published_names(encoder)
        return names


@TRAINER_REGISTRY.register()
class IVLP(PromptTrainer):
    """Independent vision-language prompts."""

    checkpoint_name = "VLPromptLearner"
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> IndependentPrompts:
        """Prompts by ``cfg.TRAINER.IVLP``, or by the node of a method that extends this one."""
        node = cls.settings_node
        s = cfg.TRAINER[node]
        check_depth(f"TRAINER.{node}.PROMPT_DEPTH_TEXT", s.PROMPT_DEPTH_TEXT, 0, clip_model.config.text_layers)
        if s.PROMPT_DEPTH_VISION and s.N_CTX_VISION:
            require_vit(cfg, clip_model)
            check_depth(f"TRAINER.{node}.PROMPT_DEPTH_VISION", s.PROMPT_DEPTH_VISION, 0, clip_model.config.vit_layers)
        elif not (s.PROMPT_DEPTH_TEXT and s.N_CTX_TEXT):
            raise ValueError(
                f"TRAINER.{node} asks for no prompt in either tower: give N_CTX_TEXT and PROMPT_DEPTH_TEXT, or N_CTX_VISION and PROMPT_DEPTH_VISION"
            )
        return IndependentPrompts(
            clip_model, classnames, s.CTX_INIT, s.N_CTX_TEXT, s.PROMPT_DEPTH_TEXT, s.N_CTX_VISION, s.PROMPT_DEPTH_VISION
        )
