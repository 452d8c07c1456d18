"""VPT, visual prompt tuning (Jia et al., ECCV 2022, arXiv 2203.12119), on CLIP, as MaPLe's authors have it.

Layer l of the image tower sees free prompts `P_l`, which replace those of the layer before:

    [class token, patches, _]_l = L_l([class token, patches, P_l]_{l-1}),    l = 0, …, J - 1

The text tower sees the words of CTX_INIT: it is IVLP with no text prompts.
"""

from typing import Any

from yacs.config import CfgNode

from clip import CLIP
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, check_depth
from .ivlp import IndependentPrompts


def extend_cfg(cfg: Any) -> None:
    cfg.TRAINER.VPT = CfgNode()
    cfg.TRAINER.VPT.N_CTX_VISION = 2  # learned tokens of each layer, at least 1
    cfg.TRAINER.VPT.CTX_INIT = "a photo of a"  # words before the class name
    cfg.TRAINER.VPT.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.VPT.PROMPT_DEPTH_VISION = 1  # J, layers with prompts; 1 is VPT-Shallow, all is VPT-Deep


@TRAINER_REGISTRY.register()
class VPT(PromptTrainer):
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> IndependentPrompts:
        s = cfg.TRAINER[cls.settings_node]
        check_depth("TRAINER.VPT.PROMPT_DEPTH_VISION", s.PROMPT_DEPTH_VISION, 1, clip_model.config.vit_layers)
        text = (0, 0)  # tokens and depth
        vision = (s.N_CTX_VISION, s.PROMPT_DEPTH_VISION)
        return IndependentPrompts(clip_model, classnames, s.CTX_INIT, *text, *vision)
