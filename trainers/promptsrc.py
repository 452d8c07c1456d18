"""PromptSRC, self-regulating prompts (Khattak et al., ICCV 2023, arXiv 2307.06948): IVLP's prompts, held near CLIP without them.

Three things are added to IVLP: the features and logits with prompts are drawn to those of the frozen CLIP, the frozen text features come from an
ensemble of 60 templates, and the prompts kept at the end are a Gaussian-weighted average of those of all epochs.

Letters of shapes: B images, C classes, E joint embedding, R the pictures' side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from clip import CLIP, tokenize
from dassl.engine import TRAINER_REGISTRY

from .imagenet_templates import IMAGENET_TEMPLATES
from .ivlp import IVLP, IndependentPrompts
from .precision import Precision
from .prompted_clip import PromptedCLIP
from .templates import fill


def extend_cfg(cfg: Any) -> None:
    """Declare ``TRAINER.PROMPTSRC``."""
    cfg.TRAINER.PROMPTSRC = CfgNode()
    cfg.TRAINER.PROMPTSRC.N_CTX_VISION = 4  # learned tokens of each layer of the image tower
    cfg.TRAINER.PROMPTSRC.N_CTX_TEXT = 4  # learned tokens of each layer of the text tower
    cfg.TRAINER.PROMPTSRC.CTX_INIT = "a photo of a"  # with N_CTX_TEXT <= 4, its first words are learned and the others stay
    cfg.TRAINER.PROMPTSRC.PREC = "fp16"  # fp16, bf16, amp or fp32
    cfg.TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION = 9  # layers with prompts; 0 for no vision prompts
    cfg.TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT = 9  # layers with prompts; 0 for the words of CTX_INIT alone
    cfg.TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT = 25.0  # >= 0, of the distance of text features
    cfg.TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT = 10.0  # >= 0, of the distance of image features
    cfg.TRAINER.PROMPTSRC.GPA_MEAN = 15.0  # the epoch, counted from 1, whose prompts weigh most in the average
    cfg.TRAINER.PROMPTSRC.GPA_STD = 1.0  # > 0, epochs
    if not hasattr(cfg, "declare_list_or_scalar"):
        # The published Dassl's config takes no integer for a float, and PromptSRC's YAMLs give integers.
        for key in ("TEXT_LOSS_WEIGHT", "IMAGE_LOSS_WEIGHT", "GPA_MEAN", "GPA_STD"):
            cfg.TRAINER.PROMPTSRC[key] = int(cfg.TRAINER.PROMPTSRC[key])


class SelfRegulatedCLIP(PromptedCLIP):
    """A prompted CLIP that also gives the features of the same frozen CLIP without its prompts."""

    published_image_towers = ("image_encoder", "prompt_learner.ZS_image_encoder")
    prompt_learner: IndependentPrompts
    frozen_text: Tensor | None

    def __init__(self, clip: CLIP, prompt_learner: IndependentPrompts, precision: Precision | None = None) -> None:
        super().__init__(clip, prompt_learner, precision)
        self.register_buffer("frozen_text", None, persistent=False)  # [C, E], made when the loss first asks for it

    @torch.no_grad()
    def frozen_image_features(self, images: Tensor) -> Tensor:
        """Normalised float32 features ``[B, E]`` of ``images`` ``[B, 3, R, R]`` without prompts and without gradient."""
        with self.precision.autocast():
            features = self.clip.encode_image(images)
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def frozen_text_features(self) -> Tensor:
        """Normalised float32 features ``[C, E]`` of the classes without learned prompts; computed once.

        The mean over the 60 templates is taken of features as the text tower gives them, and normalised then, as the released code does; zero-shot CLIP's
        ensemble normalises each first. ``test_frozen_text_features_are_the_mean_of_60_templates`` pins it.
        """
        if self.frozen_text is None:
            device, length = self.clip.token_embedding.weight.device, self.clip.config.context_length
            total = torch.zeros((), device=device)
            for template in IMAGENET_TEMPLATES:  # memory of one template's C texts at a time
                tokens = tokenize([fill(template, name) for name in self.prompt_learner.classnames], length).to(device)
                with self.precision.autocast():
                    features = self.clip.encode_text(tokens)
                total = total + features.float()
            self.frozen_text = F.normalize(total / len(IMAGENET_TEMPLATES), dim=-1)
        return self.frozen_text


def divergence_of_logits(logits: Tensor, frozen_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the predictions of ``logits`` ``[B, C]`` from those of ``frozen_logits`` ``[B, C]``, over B * C.

    Direction, temperature 1 and the division by the number of logits, not of images, are those of the released code.
    """
    log_p, log_q = F.log_softmax(logits, dim=-1), F.log_softmax(frozen_logits, dim=-1)
    return F.kl_div(log_p, log_q, reduction="sum", log_target=True) / logits.numel()


def gaussian_weights(n_epochs: int, mean: float, std: float) -> list[float]:
    """What each of the epochs 1 to ``n_epochs`` weighs in the average: a Gaussian density at the epoch's number, scaled so that all sum to 1.

    A softmax of the exponents, so that a mean far beyond the last epoch gives the last epoch all the weight and not 0 / 0.
    """
    epochs = torch.arange(1, n_epochs + 1, dtype=torch.float64)
    return torch.softmax(-0.5 * ((epochs - mean) / std) ** 2, dim=0).tolist()


class PromptAverage:
    """The weighted average of the learned prompts over the epochs, summed up as they end (arXiv 2307.06948, Gaussian-weighted prompt aggregation).

    Args:
        weights: one an epoch, summing to 1.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)
        self.n_epochs = 0
        self.total: dict[str, Tensor] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every epoch is in it."""
        return self.n_epochs == len(self.weights)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in the prompts ``values`` of the next epoch."""
        weight = self.weights[self.n_epochs]
        self.total = {name: weight * value + self.total.get(name, 0) for name, value in values.items()}
        self.n_epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors from which :meth:`load_state_dict` goes on."""
        return {"weights": self.weights, "n_epochs": self.n_epochs, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from ``state``, with its tensors on ``device``.

        Raises:
            ValueError: there is no average in it, or its epochs are weighted otherwise.
        """
        remedy = "Take another OUTPUT_DIR to start afresh, or test it as it is with --eval-only."
        if not state:
            raise ValueError(
                f"the checkpoint to resume from holds no running average of the prompts (extra_state), so the epochs before it would be left out. {remedy}"
            )
        if list(state["weights"]) != self.weights:
            raise ValueError(
                f"the running average in the checkpoint weighs its {len(state['weights'])} epochs {_shown(state['weights'])}, but OPTIM.MAX_EPOCH, "
                f"TRAINER.PROMPTSRC.GPA_MEAN and GPA_STD now ask for {_shown(self.weights)}: resume with the settings it was started with. {remedy}"
            )
        self.n_epochs = state["n_epochs"]
        self.total = {name: value.to(device) for name, value in state["total"].items()}


def _shown(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:.3g}" for weight in weights)


@TRAINER_REGISTRY.register()
class PromptSRC(IVLP):
    """Self-regulating prompts: IVLP with consistency losses and an average over the epochs."""

    settings_node = "PROMPTSRC"
    checkpoint_name = "VLPromptLearner"
    has_static_step = True
    model_class = SelfRegulatedCLIP
    model: SelfRegulatedCLIP

    @classmethod
    def check_cfg(cls, cfg: Any) -> None:
        """Refuse settings that cannot work, before anything is loaded."""
        super().check_cfg(cfg)
        s = cfg.TRAINER.PROMPTSRC
        if s.GPA_STD <= 0:
            raise ValueError(f"TRAINER.PROMPTSRC.GPA_STD is {s.GPA_STD}; it must be above 0 (epochs)")
        for key in ("TEXT_LOSS_WEIGHT", "IMAGE_LOSS_WEIGHT"):
            if s[key] < 0:
                raise ValueError(f"TRAINER.PROMPTSRC.{key} is {s[key]}; it must be 0 or more")

    def build_model(self) -> None:
        """As every method, and an empty average."""
        super().build_model()
        s = self.cfg.TRAINER.PROMPTSRC
        self.average = PromptAverage(gaussian_weights(self.max_epoch, s.GPA_MEAN, s.GPA_STD))
        print(f"Weights of the epochs in the average of the prompts: {_shown(self.average.weights)}")

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of ``images`` ``[B, 3, R, R]`` with ``labels`` ``[B]``, plus the distances from the frozen CLIP.

        L1 of the text and of the image features, as means over their C * E and B * E entries, and the divergence of the logits.
        """
        s, model = self.cfg.TRAINER.PROMPTSRC, self.model
        image, text = model.image_features(images), model.text_features()
        frozen_image, frozen_text = model.frozen_image_features(images), model.frozen_text_features()
        logits, frozen_logits = model.logits(image, text), model.logits(frozen_image, frozen_text)
        text_distance, image_distance = F.l1_loss(text, frozen_text), F.l1_loss(image, frozen_image)
        regularisation = s.TEXT_LOSS_WEIGHT * text_distance + s.IMAGE_LOSS_WEIGHT * image_distance
        return F.cross_entropy(logits, labels) + regularisation + divergence_of_logits(logits, frozen_logits)

    def after_epoch(self) -> None:
        """Take the epoch's prompts into the average; the last epoch puts the average in their place, and it is tested and saved."""
        self.average.add(self.learned.state_dict())
        if self.average.is_complete:
            print(f"Put the Gaussian-weighted average of the prompts of {self.average.n_epochs} epochs in place")
            self.learned.load_state_dict(self.average.total)
        super().after_epoch()

    def extra_state(self) -> dict[str, Any]:
        """The running average."""
        return self.average.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Go on with the running average that was saved.

        Raises:
            ValueError: there is none, or it was made with other settings.
        """
        self.average.load_state_dict(state, self.device)
