"""MaPLe, multi-modal prompt learning (Khattak et al., CVPR 2023, arXiv 2210.03117).

Layer l of the text tower sees learned prompts `P_l`, and layer l of the image tower their linear maps:

    P_l replaces P_{l-1},    F_l(P_l) replaces F_{l-1}(P_{l-1}),    l = 1, …, J - 1

J = PROMPT_DEPTH; `P_0` stands in the class prompt. Later layers carry the prompts that are there.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts, PromptSchedule
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, check_depth
from .prompts import PromptLearner, TextPrompts, learned_words, random_prompts


def extend_cfg(cfg: Any) -> None:
    cfg.TRAINER.MAPLE = CfgNode()
    cfg.TRAINER.MAPLE.N_CTX = 2  # n >= 1: learned tokens of each layer, in each tower
    cfg.TRAINER.MAPLE.CTX_INIT = "a photo of a"  # with n <= 4, its first n words are learned
    cfg.TRAINER.MAPLE.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.MAPLE.PROMPT_DEPTH = 9  # J, 1 to the number of layers of the shallower tower


class MaPLePrompts(PromptLearner):
    """The learned tokens and maps of MaPLe, as attributes of their published names.

    `ctx` `[n, D_text]` is `P_0` and `compound_prompts_text.{l-1}` `[n, D_text]` is `P_l`; `proj` is `F_0` and
    `compound_prompt_projections.{l-1}` is `F_l`.
    """

    def __init__(
        self, clip: CLIP, classnames: Sequence[str], n_ctx: int, ctx_init: str, prompt_depth: int
    ) -> None:
        super().__init__()
        c, layers, n_deeper = clip.config, range(prompt_depth), prompt_depth - 1
        self.text_schedule = PromptSchedule.replace_at(c.text_layers, n_ctx, layers, "text tower")
        self.vision_schedule = PromptSchedule.replace_at(c.vit_layers, n_ctx, layers, "image tower")
        self.class_prompts, start = learned_words(clip, classnames, n_ctx, ctx_init)
        self.ctx = nn.Parameter(start)
        self.proj = nn.Linear(c.text_width, c.vision_width)
        self.compound_prompts_text = nn.ParameterList(
            nn.Parameter(random_prompts(n_ctx, c.text_width)) for _ in range(n_deeper)
        )
        shared_start = nn.Linear(c.text_width, c.vision_width)
        self.compound_prompt_projections = nn.ModuleList(deepcopy(shared_start) for _ in range(n_deeper))

    def text(self) -> TextPrompts:
        deep = LayerPrompts(self.text_schedule, [self.ctx, *self.compound_prompts_text])
        return self.class_prompts.text(self.ctx, deep)

    def vision(self) -> LayerPrompts:
        pairs = zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)
        mapped = [self.proj(self.ctx), *(project(p) for project, p in pairs)]
        return LayerPrompts(self.vision_schedule, mapped)


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    checkpoint_name = "MultiModalPromptLearner"
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MaPLePrompts:
        s, c = cfg.TRAINER[cls.settings_node], clip_model.config
        key = f"TRAINER.{cls.settings_node}.PROMPT_DEPTH"
        check_depth(key, s.PROMPT_DEPTH, 1, c.text_layers, c.vit_layers)
        return MaPLePrompts(clip_model, classnames, s.N_CTX, s.CTX_INIT, s.PROMPT_DEPTH)
