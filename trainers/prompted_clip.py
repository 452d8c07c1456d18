"""A frozen CLIP whose towers see learned prompts, and the cache of its text features.

Letters of shapes: B images, C classes, E joint embedding, R the pictures' side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import CLIP

from .precision import Precision
from .prompts import PromptLearner, TextPrompts


class PromptedCLIP(nn.Module):
    """A frozen CLIP whose towers see learned prompts: ``[B, 3, R, R] -> logits [B, C]``.

    Args:
        clip: its parameters are frozen here, cast as ``precision`` says, and always stay in evaluation mode.
        prompt_learner: the learned part.
        precision: what the towers compute in.
    """

    published_image_towers: tuple[str, ...] = ("image_encoder",)
    """Names under which published checkpoints of the method hold the frozen image tower."""
    prompt_learner: PromptLearner
    keeps_fixed_text = True
    """Whether class prompts without anything learned in them, such as VPT's, are encoded once for all steps."""
    fixed_text: Tensor | None

    def __init__(self, clip: CLIP, prompt_learner: PromptLearner, precision: Precision | None = None) -> None:
        super().__init__()
        self.precision = precision or Precision()
        self.clip = clip.set_compute_dtype(self.precision.tower_dtype).requires_grad_(False).eval()
        self.prompt_learner = prompt_learner
        self.register_buffer("fixed_text", None, persistent=False)  # [C, E], made when it is first asked for

    def train(self, mode: bool = True) -> PromptedCLIP:
        """Set the mode of the learned part; the frozen towers keep their statistics."""
        super().train(mode)
        self.clip.eval()
        return self

    def set_prompt_learner(self, prompt_learner: PromptLearner) -> None:
        """Take another learned part, such as one for other classes, and forget what was made of the one before."""
        self.prompt_learner, self.fixed_text = prompt_learner, None

    def text_features(self) -> Tensor:
        """Normalised float32 features ``[C, E]`` of the class prompts."""
        if not self.keeps_fixed_text or self.prompt_learner.text_parameters():
            return self.encode_text_prompts(self.prompt_learner.text())
        if self.fixed_text is None:
            with torch.inference_mode(False), torch.no_grad():  # a step may use what an evaluation has made
                self.fixed_text = self.encode_text_prompts(self.prompt_learner.text())
        return self.fixed_text

    def encode_text_prompts(self, text: TextPrompts) -> Tensor:
        """Normalised float32 features ``[C, E]`` of given class prompts."""
        with self.precision.autocast():
            features = self.clip.encode_embedded_text(text.embedded, text.end_index, text.deep, text.packing)
        return F.normalize(features.float(), dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised float32 features ``[B, E]`` of ``images``."""
        prompts = self.prompt_learner.vision()
        with self.precision.autocast():
            features = self.clip.encode_image(images, prompts)
        return F.normalize(features.float(), dim=-1)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """``exp(logit_scale)`` times the cosine of each image with each class, ``[B, C]``."""
        return self.clip.logit_scale.exp() * image_features @ text_features.t()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.image_features(images), self.text_features())


class TextFeatureCache:
    """Text features of the present prompts, computed again only when a parameter that they depend on has another value.

    Args:
        keeps: False computes them at every call.
    """

    def __init__(self, keeps: bool = True) -> None:
        self.keeps = keeps
        self._features: Tensor | None = None
        self._made_from: Tensor | None = None
        self._is_known = False
        self._is_steady = False

    @contextlib.contextmanager
    def steady(self) -> Iterator[None]:
        """Within it the parameters stay what they are, so that they are looked at once: on a GPU, each look waits for all that was launched before."""
        self._is_known, self._is_steady = False, True
        try:
            yield
        finally:
            self._is_known = self._is_steady = False

    def get(self, model: PromptedCLIP) -> Tensor:
        """Text features ``[C, E]`` of ``model``, without gradient."""
        if self._is_known and self._features is not None:
            return self._features
        parameters = [p.detach().flatten() for p in model.prompt_learner.text_parameters()]
        present = torch.cat(parameters) if parameters else torch.empty(0)
        if not self.keeps or self._features is None or self._made_from is None or not torch.equal(self._made_from, present):
            with torch.no_grad():
                self._features = model.text_features()
            self._made_from = present.clone()
        self._is_known = self.keeps and self._is_steady
        return self._features
