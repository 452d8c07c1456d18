"""Zero-shot CLIP (Radford et al., 2021): hand-written prompts, nothing learned; the line that every method is held against."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import CLIP
from dassl.engine import TRAINER_REGISTRY, TrainerX

from . import prompt_file
from .backbone import BackboneIdentity
from .base import load_frozen_clip
from .evaluation import FeatureEvaluation
from .precision import choose_precision
from .prompted_clip import PromptedCLIP
from .prompts import ClassPrompts, PromptLearner, TextPrompts
from .templates import ENSEMBLE, chosen_template, fill


class FixedPrompts(PromptLearner):
    """Hand-written prompts, T templates of C class names, nothing to learn."""

    def __init__(self, clip: CLIP, classnames: Sequence[str], templates: Sequence[str]) -> None:
        super().__init__()
        self.per_template = nn.ModuleList(
            ClassPrompts(clip, [fill(template, name) for name in classnames], n_ctx=0) for template in templates
        )

    def texts(self) -> list[TextPrompts]:
        """What the text tower is given, one entry a template."""
        return [prompts.text() for prompts in self._class_prompts()]

    def _class_prompts(self) -> Iterator[ClassPrompts]:
        for prompts in self.per_template:
            assert isinstance(prompts, ClassPrompts)
            yield prompts

    def text(self) -> TextPrompts:
        return self.texts()[0]


class ZeroshotModel(PromptedCLIP):
    """CLIP whose class features are the normalised mean of the normalised features of each template's prompts."""

    prompt_learner: FixedPrompts

    def text_features(self) -> Tensor:
        return F.normalize(torch.stack([self.encode_text_prompts(text) for text in self.prompt_learner.texts()]).mean(dim=0), dim=-1)


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(FeatureEvaluation, TrainerX):
    """CLIP with the dataset's template, or DATASET.TEMPLATE; run it with ``--eval-only``."""

    model: ZeroshotModel

    model_class = ZeroshotModel

    def templates(self) -> list[str]:
        """The templates whose features are averaged."""
        return [chosen_template(self.cfg)]

    @classmethod
    def prompt_settings(cls, cfg: Any) -> dict[str, Any]:
        """No settings but the templates, which a prompt file holds themselves."""
        return {}

    def build_model(self) -> None:
        """Load CLIP; the text features are computed at the first picture."""
        cfg = self.cfg
        # On a GPU in the float16 in which OpenAI's weights are published, as the published code does; on a CPU in float32.
        precision = choose_precision("fp16" if self.device.type == "cuda" else "fp32", self.device)
        self.computed_in = precision.name
        clip_model = load_frozen_clip(cfg, torch.device("cpu"))
        self.backbone = BackboneIdentity.of(clip_model, cfg.MODEL.BACKBONE.NAME)
        prompts = FixedPrompts(clip_model, self.dm.dataset.classnames, self.templates())
        print(f"Prompt templates: {', '.join(map(repr, self.templates()))}")
        self.model = ZeroshotModel(clip_model, prompts, precision).to(self.device)

    def check_training(self) -> Any:
        """Refuse to train.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.cfg.TRAINER.NAME} learns nothing, so there is nothing to train: add --eval-only")

    def test(self, split: str | None = None) -> float:
        """Evaluate, then write templates, backbone and accuracy as a prompt file into the run's folder."""
        result = super().test(split)
        file = prompt_file.of_trainer(self, type(self), {}, tuple(self.templates()))
        print(f"Prompts saved to {file.write(os.path.join(self.output_dir, prompt_file.FILE_NAME))}")
        return result


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """CLIP with an ensemble: seven general templates that OpenAI selected for ImageNet, and the dataset's own."""

    def templates(self) -> list[str]:
        return [*ENSEMBLE] if self.cfg.DATASET.NAME == "ImageNet" else [*ENSEMBLE, *super().templates()]
