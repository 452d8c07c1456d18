"""TCP, class-aware prompts (Yao et al., CVPR 2024, arXiv 2311.18231): KgCoOp with tokens of each class.

A map of the frozen features z_c gives each class four tokens, which take the place of the learned words
before the text layer LAYER, counted from 0:

    T_c = W_2 gelu(W_1 z_c + b_1) + b_2,    loss = CE + W (1 - mean over classes of cos(t_c, z_c))

The released code has 8 for both LAYER and W written in: the TRAINER.COOP.W that its scripts pass is never
read, so the weight here is TRAINER.TCP.W. It needs Adam's eps at 1e-3 (OPTIM.ADAM_EPS), as its README says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts, PromptSchedule
from clip.model import QuickGELU
from clip.packing import TextPacking
from clip.prompt_ops import PromptSpan
from dassl.engine import TRAINER_REGISTRY

from .base import check_depth
from .cocoop import meta_net
from .kgcoop import FROZEN_TEMPLATES, KgCoOp
from .prompted_clip import encode_plain_texts
from .prompts import ClassPrompts, PromptLearner, TextPrompts, placeholders, random_prompts
from .templates import DEFAULT_TEMPLATE, chosen_template, fill

# The released map gives four tokens a class, and the class prompts have four words before the name.
N_TOKENS = 4
BOTTLENECK = 4  # the hidden layer is E / 4 wide
WORDS = placeholders(N_TOKENS)
CLASS_PROMPTS = {
    "OxfordPets": f"{WORDS} {{}}, a type of pet.",
    "OxfordFlowers": f"{WORDS} {{}}, a type of flower.",
    "FGVCAircraft": f"{WORDS} {{}}, a type of aircraft.",
    "DescribableTextures": f"{WORDS} {{}} texture.",
    "StanfordCars": f"{WORDS} {{}}, a type of car",
    "Food101": f"{WORDS} {{}}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
    **dict.fromkeys(("ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"), DEFAULT_TEMPLATE),
}


def extend_cfg(cfg: Any) -> None:
    """Declare `TRAINER.TCP`. Of TRAINER.COOP it reads N_CTX, which must be 4, CTX_INIT and PREC."""
    cfg.TRAINER.TCP = CfgNode()
    cfg.TRAINER.TCP.W = 8.0  # the weight of the distance from the frozen features
    cfg.TRAINER.TCP.LAYER = 8  # 1 to the text tower's layers less 1


@dataclass(frozen=True)
class ClassTokens(LayerPrompts):
    """A schedule of which a layer's tokens `[C, P, D]` are of each class, also where texts are packed.

    Args:
        packing: of the C texts, with the prompts among each text's own tokens.
    """

    packing: TextPacking | None = None

    def before_layer(self, layer_index: int, tokens: Tensor, span: PromptSpan) -> tuple[Tensor, PromptSpan]:
        added = self.tokens[layer_index] if 0 < layer_index < len(self.tokens) else None
        if added is None or len(added) == len(tokens):
            return super().before_layer(layer_index, tokens, span)
        assert self.packing is not None and span.start == self.packing.n_common
        places = self.packing.n_common + self.packing.grid[:, : span.length]  # [C, P]
        new = added.to(tokens.dtype).flatten(0, 1).unsqueeze(0)
        return tokens.index_copy(1, places.flatten(), new), span


class ClassAwareWords(PromptLearner):
    """Learned words `ctx` `[4, D]`, and the map `meta_net` `[E] -> [4 D]` to the tokens of a class.

    Args:
        clip: gives widths, word vectors and the frozen features.
        texts: one prompt a class, whose first four words are replaced.
        frozen_texts: one text a class for z_c.
        ctx_init: four words to start from; "" for random vectors.
        layer: which sees the tokens first.
    """

    published_prefix = ""
    frozen_text: Tensor

    def __init__(
        self, clip: CLIP, texts: Sequence[str], frozen_texts: Sequence[str], ctx_init: str, layer: int
    ) -> None:
        super().__init__()
        c = clip.config
        self.class_prompts = ClassPrompts(clip, texts, N_TOKENS)
        start = random_prompts(N_TOKENS, c.text_width)
        if ctx_init:
            start = ClassPrompts(clip, [ctx_init], N_TOKENS).initial_context
        self.ctx = nn.Parameter(start)
        self.meta_net = meta_net(c.embed_dim, BOTTLENECK, QuickGELU(), N_TOKENS * c.text_width)
        self.schedule = PromptSchedule.replace_at(c.text_layers, N_TOKENS, (0, layer), "text tower")
        self.layer = layer
        self.class_prompts.packing = TextPacking(self.class_prompts.end_index, 1)  # their start is common
        self.frozen_texts = [frozen_texts]
        features = F.normalize(encode_plain_texts(clip, frozen_texts), dim=-1)
        self.register_buffer("frozen_text", features, persistent=False)  # [C, E]

    def text(self) -> TextPrompts:
        of_classes = self.meta_net(self.frozen_text).unflatten(-1, self.ctx.shape)  # [C, 4, D]
        tokens: list[Tensor | None] = [self.ctx, *[None] * (self.layer - 1), of_classes]
        deep = ClassTokens(self.schedule, tokens, packing=self.class_prompts.packing)
        return self.class_prompts.text(self.ctx, deep)


@TRAINER_REGISTRY.register()
class TCP(KgCoOp):
    further_settings = ("TRAINER.TCP",)
    has_static_step = True
    frozen_templates = FROZEN_TEMPLATES | {
        "FGVCAircraft": "a photo of an aircraft {}.",
        "Food101": "a photo of a {}, a type of food.",
    }

    @classmethod
    def check_cfg(cls, cfg: Any) -> None:
        super().check_cfg(cfg)
        n_ctx, csc = cls.words(cfg)[0], cfg.TRAINER.COOP.CSC
        if n_ctx != N_TOKENS or csc:
            raise ValueError(
                f"TRAINER.COOP.N_CTX and CSC are {n_ctx} and {csc}; TCP replaces {N_TOKENS} words that all "
                f"classes share: set N_CTX to {N_TOKENS} and CSC to False"
            )

    @classmethod
    def build_prompt_learner(  # type: ignore[override]  # its own words
        cls, cfg: Any, clip_model: CLIP, classnames: list[str]
    ) -> ClassAwareWords:
        words, layer = cls.words(cfg)[1], cfg.TRAINER.TCP.LAYER
        check_depth("TRAINER.TCP.LAYER", layer, 1, clip_model.config.text_layers - 1)
        template = CLASS_PROMPTS.get(cfg.DATASET.NAME, f"{WORDS} {{}}.")
        frozen_texts = fill(chosen_template(cfg, cls.frozen_templates), classnames)
        return ClassAwareWords(clip_model, fill(template, classnames), frozen_texts, words, layer)

    def weight(self) -> float:
        return self.cfg.TRAINER.TCP.W
