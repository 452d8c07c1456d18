"""MPL, Modular Prompt Learning (Huang et al., ICASSP 2025, arXiv 2502.14125).

Layer l of the text tower sees learned prompts `P_l`, as in MaPLe. The image tower removes, carries and adds:

    V_0 = F_0(P_0),    V_l = [V_{l-1} without its last r tokens, F_l^1(P_l), …, F_l^a(P_l)],    1 <= l < J

n = N_CTX tokens in each `P_l`, a = N_ADD_OP, r = N_RM_OP, J = PROMPT_DEPTH. Later layers carry the prompts
that are there. With a = 1 and r = n this is MaPLe's schedule.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts, PromptSchedule
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, check_depth
from .prompts import ClassPrompts, PromptLearner, TextPrompts, class_prompt, placeholders, random_prompts


def extend_cfg(cfg: Any) -> None:
    """Declare `TRAINER.MPL`; its defaults are the released code's, and the configs hold the paper's."""
    cfg.TRAINER.MPL = CfgNode()
    cfg.TRAINER.MPL.N_CTX = 2  # n >= 1: learned tokens before layer 0, in each tower
    cfg.TRAINER.MPL.N_ADD_OP = 2  # a >= 0: layers 1 to J - 1 add a * n vision prompts; or a list
    cfg.TRAINER.MPL.N_RM_OP = 1  # r >= 0: vision prompts removed before each of these; or a list
    cfg.TRAINER.MPL.TEXT_N_ADD_OP = None  # a of the text tower: None is 1, as in the paper
    cfg.TRAINER.MPL.TEXT_N_RM_OP = None  # r of the text tower: None removes all, as in the paper
    cfg.TRAINER.MPL.CTX_INIT = "a photo of a"  # fixed words between the learned context and the class name
    cfg.TRAINER.MPL.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.MPL.PROMPT_DEPTH = 9  # J, 1 to the number of layers of the shallower tower
    if hasattr(cfg, "declare_list_or_scalar"):  # the published Dassl's config takes integers alone
        for key in ("N_ADD_OP", "N_RM_OP"):
            cfg.declare_list_or_scalar(f"TRAINER.MPL.{key}")


def one_entry_a_layer(value: int | Sequence[int], depth: int, key: str) -> list[int]:
    """`value` of the setting `key` for each of the layers 1 to `depth - 1`; ValueError if that fails."""
    entries: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value] * (depth - 1)
    if len(entries) != depth - 1:
        raise ValueError(
            f"{key} has {len(entries)} entries; PROMPT_DEPTH {depth} needs {depth - 1}, one for each of the "
            f"layers 1 to {depth - 1}"
        )
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in entries):
        raise ValueError(f"{key} is {value!r}; it must be an integer of 0 or more, or a list of such")
    return entries


class MPLSchedules:
    """How many prompts each layer of the two towers removes, carries and adds.

    Args:
        n_ctx, prompt_depth: n and J.
        text_layers, vision_layers: layers of the towers.
        n_add, n_remove: a and r, one number or one entry for each of the layers 1 to J - 1.
        text_n_add, text_n_remove: the same for the text tower; None adds n tokens and removes all.

    Attributes:
        n_maps: linear maps, and thus groups of n added vision prompts, of each of the layers 1 to J - 1.
        text_groups: groups of n added text prompts of each of these layers.
        vision, text: the schedules of the towers.

    Raises:
        ValueError: a setting is out of range, or a layer would remove more prompts than it holds.
    """

    def __init__(
        self,
        n_ctx: int,
        prompt_depth: int,
        text_layers: int,
        vision_layers: int,
        n_add: int | Sequence[int] = 2,
        n_remove: int | Sequence[int] = 1,
        text_n_add: int | Sequence[int] | None = None,
        text_n_remove: int | Sequence[int] | None = None,
    ) -> None:
        check_depth("TRAINER.MPL.PROMPT_DEPTH", prompt_depth, 1, text_layers, vision_layers)
        self.n_ctx = n_ctx
        self.n_maps = one_entry_a_layer(n_add, prompt_depth, "TRAINER.MPL.N_ADD_OP")
        added = [a * n_ctx for a in self.n_maps]
        removed = one_entry_a_layer(n_remove, prompt_depth, "TRAINER.MPL.N_RM_OP")
        self.vision = PromptSchedule(vision_layers, n_ctx, added, removed, "image tower")
        text_n_add = 1 if text_n_add is None else text_n_add
        self.text_groups = one_entry_a_layer(text_n_add, prompt_depth, "TRAINER.MPL.TEXT_N_ADD_OP")
        text_added = [a * n_ctx for a in self.text_groups]
        if text_n_remove is None:
            text_removed = [n_ctx, *text_added][: prompt_depth - 1]  # all that the layer before saw
        else:
            text_removed = one_entry_a_layer(text_n_remove, prompt_depth, "TRAINER.MPL.TEXT_N_RM_OP")
        self.text = PromptSchedule(text_layers, n_ctx, text_added, text_removed, "text tower")


class MPLPrompts(PromptLearner):
    """The learned tokens and maps of MPL, as attributes of their published names.

    `ctx` `[n, D_text]` is `P_0` and `compound_prompts_text.{l-1}` `[n, D_text]` is `P_l`; `proj` is `F_0` and
    `txt2img_proj.{i-1}.{l-1}` is `F_l^i`. A text tower that adds b * n prompts to layer l has b * n rows in
    `P_l`, of which the first n are mapped.
    """

    def __init__(self, clip: CLIP, classnames: Sequence[str], ctx_init: str, schedules: MPLSchedules) -> None:
        super().__init__()
        text_width, vision_width = clip.config.text_width, clip.config.vision_width
        self.schedules, self.n_ctx = schedules, schedules.n_ctx
        words = f"{placeholders(self.n_ctx)} {ctx_init}"
        texts = [class_prompt(words, name) for name in classnames]
        self.class_prompts = ClassPrompts(clip, texts, self.n_ctx)
        self.ctx = nn.Parameter(self.class_prompts.initial_context)
        self.proj = nn.Linear(text_width, vision_width)
        self.compound_prompts_text = nn.ParameterDict()
        shared_start = nn.Linear(text_width, vision_width)
        self.txt2img_proj = nn.ModuleList(nn.ModuleDict() for _ in range(max(schedules.n_maps, default=0)))
        for index, (n_maps, text_groups) in enumerate(
            zip(schedules.n_maps, schedules.text_groups, strict=True)
        ):
            if n_maps or text_groups:
                prompts = random_prompts(max(text_groups, 1) * self.n_ctx, text_width)
                self.compound_prompts_text[str(index)] = nn.Parameter(prompts)
            for maps in list(self.txt2img_proj)[:n_maps]:
                maps.add_module(str(index), deepcopy(shared_start))

    def text(self) -> TextPrompts:
        deep: list[Tensor | None] = [self.ctx]
        for index, text_groups in enumerate(self.schedules.text_groups):
            deep.append(self.compound_prompts_text[str(index)] if text_groups else None)
        return self.class_prompts.text(self.ctx, LayerPrompts(self.schedules.text, deep))

    def vision(self) -> LayerPrompts:
        tokens: list[Tensor | None] = [self.proj(self.ctx)]
        for index, n_maps in enumerate(self.schedules.n_maps):
            maps = [maps.get_submodule(str(index)) for maps in list(self.txt2img_proj)[:n_maps]]
            mapped = [project(self.compound_prompts_text[str(index)][: self.n_ctx]) for project in maps]
            tokens.append(torch.cat(mapped) if mapped else None)
        return LayerPrompts(self.schedules.vision, tokens)


@TRAINER_REGISTRY.register()
class MPL(PromptTrainer):
    checkpoint_name = "MultiModalPromptLearner"
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MPLPrompts:
        s, c = cfg.TRAINER[cls.settings_node], clip_model.config
        schedules = MPLSchedules(
            s.N_CTX,
            s.PROMPT_DEPTH,
            c.text_layers,
            c.vit_layers,
            n_add=s.N_ADD_OP,
            n_remove=s.N_RM_OP,
            text_n_add=s.TEXT_N_ADD_OP,
            text_n_remove=s.TEXT_N_RM_OP,
        )
        return MPLPrompts(clip_model, classnames, s.CTX_INIT, schedules)
