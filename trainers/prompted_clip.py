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
    keeps_text = True
    """Whether the features of class prompts may be kept: of those without anything learned in them, such as VPT's, for all steps, and of others in a test."""
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
        """Normalised float32 features ``[C, E]`` of the class prompts.

        Where nothing is learned in them they are kept, since the tower is frozen: whoever changes it sets :attr:`fixed_text` to None.
        """
        if not self.keeps_text or self.prompt_learner.text_parameters():
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

    def has_forward_of(self, cls: type[PromptedCLIP]) -> bool:
        """Whether ``self(images)`` is what ``cls`` does, neither overridden nor replaced nor hooked, so that it can be computed from kept features."""
        return getattr(self.forward, "__func__", None) is cls.forward and not (self._forward_hooks or self._forward_pre_hooks)


class TextFeatureCache:
    """Text features of the present prompts, computed again only for another learned part, or when a parameter that they depend on has another value.

    Args:
        keeps: False computes them at every call.
    """

    def __init__(self, keeps: bool = True) -> None:
        self.keeps = keeps
        self._features: Tensor | None = None
        self._made_by: PromptLearner | None = None
        self._made_from = torch.empty(0)
        self._is_steady = False

    @contextlib.contextmanager
    def steady(self) -> Iterator[None]:
        """Within it all that features depend on stays what it is: they are computed once, whatever was kept before, and nothing is compared.

        On a GPU, each comparison waits for all that was launched before.
        """
        self._features, self._is_steady = None, True
        try:
            yield
        finally:
            self._is_steady = False

    def get(self, model: PromptedCLIP) -> Tensor:
        """Text features ``[C, E]`` of ``model``, without gradient."""
        keeps = self.keeps and model.keeps_text
        if self._features is not None and keeps and self._is_steady:
            return self._features
        parameters = [p.detach().flatten() for p in model.prompt_learner.text_parameters()]
        present = torch.cat(parameters) if parameters else torch.empty(0)
        is_same = self._made_by is model.prompt_learner and torch.equal(self._made_from, present)
        if self._features is None or not (keeps and is_same):
            with torch.no_grad():
                self._features = model.text_features()
            self._made_by, self._made_from = model.prompt_learner, present.clone()
        return self._features
