"""MMRL, multi-modal representation learning (Guo & Gu, CVPR 2025, arXiv 2503.08497).

K learned tokens R of a space that the towers share are mapped into both by linear maps F_l and G_l, and stand
behind the first token (class token, start of text) of the layers l in REP_LAYERS, counted from 1:

    F_l(R), G_l(R) join at the first such layer and replace those that are there at the others

With the class feature f, the mean r of the K image tokens' features through a projection of its own, and the
class features t, all normalised, and the frozen CLIP's f' and t':

    loss = a CE(100 f·t, y) + (1 - a) CE(100 r·t, y) + w (1 - mean f·f') + w (1 - mean t·t'),    a = ALPHA

Classes of the training are tested with a f + (1 - a) r, new ones with f. In the released code, which is
followed here, 100 is a constant and not exp(logit_scale), and r's projection starts at random.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from clip import CLIP, LayerPrompts, PromptSchedule
from clip.model import VisionTransformer
from dassl.engine import TRAINER_REGISTRY

from .base import PromptTrainer, Terms
from .prompted_clip import PromptedCLIP
from .prompts import ClassPrompts, PromptLearner, TextPrompts, random_prompts
from .templates import chosen_template, fill

SCALE = 100.0  # of the cosines


def extend_cfg(cfg: Any) -> None:
    """Declare `TRAINER.MMRL` and `TASK`."""
    cfg.TASK = "B2N"  # B2N, FS or CD: which classes are tested with both features
    cfg.TRAINER.MMRL = CfgNode()
    cfg.TRAINER.MMRL.ALPHA = 0.7  # a, 0 to 1: share of the class feature
    cfg.TRAINER.MMRL.REG_WEIGHT = 1.0  # w >= 0
    cfg.TRAINER.MMRL.REP_LAYERS = []  # layers with tokens, from 1, such as [6, 7, 8, 9, 10, 11, 12]
    cfg.TRAINER.MMRL.REP_DIM = 512  # width of R
    cfg.TRAINER.MMRL.N_REP_TOKENS = 5  # K >= 1
    cfg.TRAINER.MMRL.PREC = "fp16"  # fp16, bf16, amp or fp32


def takes_both(cfg: Any) -> bool:
    """Whether a test takes both features: TASK's rule of the released code, and never for new classes."""
    part = cfg.DATASET.SUBSAMPLE_CLASSES
    by_task = {"B2N": part == "base", "FS": True, "CD": cfg.DATASET.NAME == "ImageNet"}
    return by_task[cfg.TASK] and part != "new"


class Representations(PromptLearner):
    """The tokens `compound_rep_tokens` `[K, R]`, their maps into the towers, and the second projection.

    `compound_rep_tokens_r2tproj.{j}` and `compound_rep_tokens_r2vproj.{j}` are F and G of the j-th of
    `layers`, counted from 0; `proj_rep` `[D_vision, E]` belongs to r. `share` is that of f in a test.
    """

    unused_in_files = (*PromptLearner.unused_in_files, "*prompt_embeddings")

    def __init__(
        self, clip: CLIP, texts: Sequence[str], n_tokens: int, dim: int, layers: Sequence[int], share: float
    ) -> None:
        super().__init__()
        c = clip.config
        self.layers, self.share = layers, share
        self.frozen_texts = [texts]
        self.class_prompts = ClassPrompts(clip, texts, n_ctx=0)
        self.text_schedule = PromptSchedule.replace_at(c.text_layers, n_tokens, layers, "text tower")
        self.vision_schedule = PromptSchedule.replace_at(c.vit_layers, n_tokens, layers, "image tower")
        self.compound_rep_tokens = nn.Parameter(random_prompts(n_tokens, dim))
        to_text, to_vision = nn.Linear(dim, c.text_width), nn.Linear(dim, c.vision_width)
        self.compound_rep_tokens_r2vproj = nn.ModuleList(deepcopy(to_vision) for _ in layers)
        self.compound_rep_tokens_r2tproj = nn.ModuleList(deepcopy(to_text) for _ in layers)
        self.proj_rep = nn.Parameter(torch.randn(c.vision_width, c.embed_dim) * c.vision_width**-0.5)

    def layer_prompts(self, schedule: PromptSchedule, maps: nn.ModuleList) -> LayerPrompts:
        """The tokens of one tower."""
        tokens: list[Tensor | None] = [None] * (self.layers[-1] + 1)
        for layer_index, project in zip(self.layers, maps, strict=True):
            tokens[layer_index] = project(self.compound_rep_tokens)
        return LayerPrompts(schedule, tokens, inside=True)

    def text(self) -> TextPrompts:
        deep = self.layer_prompts(self.text_schedule, self.compound_rep_tokens_r2tproj)
        return self.class_prompts.text(deep=deep)

    def vision(self) -> LayerPrompts:
        return self.layer_prompts(self.vision_schedule, self.compound_rep_tokens_r2vproj)

    def published_names(self) -> dict[str, nn.Parameter]:
        return {
            "image_encoder.proj_rep" if name == "proj_rep" else f"representation_learner.{name}": parameter
            for name, parameter in self.named_parameters()
        }


class RepresentationCLIP(PromptedCLIP):
    """A prompted CLIP with two features of an image."""

    prompt_learner: Representations

    def both_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f and r, normalised, float32, `[B, E]` each."""
        visual, learner = self.clip.visual, self.prompt_learner
        assert isinstance(visual, VisionTransformer)
        prompts = learner.vision()
        with self.precision.autocast():
            tokens = visual.first_tokens(images, prompts, 1 + prompts.schedule.n_final)
            features = tokens[:, 0] @ visual.proj
        representations = tokens[:, 1:].float().mean(dim=1) @ learner.proj_rep
        return F.normalize(features.float(), dim=-1), F.normalize(representations.float(), dim=-1)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As those of a prompted CLIP; the logits are those of f and r in their shares."""
        share = self.prompt_learner.share
        if share == 1:
            return super().outputs(images)
        (features, representations), text = self.both_features(images), self.text_features()
        logits, others = self.logits(features, text), self.logits(representations, text)
        return share * logits + (1 - share) * others, features, text

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return SCALE * image_features @ text_features.t()


@TRAINER_REGISTRY.register()
class MMRL(PromptTrainer):
    further_settings = ("TASK",)
    choices = {"TASK": ("B2N", "FS", "CD")}  # base to new classes, few shots, cross-dataset transfer
    checkpoint_name = "MultiModalRepresentationLearner"
    model_class = RepresentationCLIP
    model: RepresentationCLIP
    has_static_step = True

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> Representations:
        s, c = cfg.TRAINER.MMRL, clip_model.config
        n_layers = min(c.text_layers, c.vit_layers)
        layers = [layer - 1 for layer in s.REP_LAYERS]  # counted from 0
        if not layers or layers != sorted(set(layers) & set(range(n_layers))):
            raise ValueError(
                f"TRAINER.MMRL.REP_LAYERS is {s.REP_LAYERS}; it takes layers from 1 to {n_layers} in "
                f"ascending order, such as {list(range(n_layers // 2, n_layers + 1))}"
            )
        texts = fill(chosen_template(cfg), classnames)
        share = s.ALPHA if takes_both(cfg) else 1.0
        return Representations(clip_model, texts, s.N_REP_TOKENS, s.REP_DIM, layers, share)

    def loss_terms(self, images: Tensor, labels: Tensor) -> Terms:
        model, s = self.model, self.cfg.TRAINER.MMRL
        features, representations = model.both_features(images)
        text, share, weight = model.text_features(), s.ALPHA, s.REG_WEIGHT
        logits, others = model.logits(features, text), model.logits(representations, text)
        self.take_accuracy(share * logits + (1 - share) * others, labels)
        distance_image = 1 - (features * model.frozen_image_features(images)).sum(dim=-1).mean()
        distance_text = 1 - (text * model.frozen_text_features()).sum(dim=-1).mean()
        return {
            "cross_entropy_class": (share, F.cross_entropy(logits, labels)),
            "cross_entropy_rep": (1 - share, F.cross_entropy(others, labels)),
            "cosine_image": (weight, distance_image),
            "cosine_text": (weight, distance_text),
        }
