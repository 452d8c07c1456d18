"""A frozen CLIP whose towers see learned prompts.

Letters of shapes: B images, C classes, E joint embedding, R the images' side.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import CLIP

from .precision import Precision
from .prompts import PromptLearner, TextPrompts


class PromptedCLIP(nn.Module):
    """A frozen CLIP whose towers see learned prompts: `[B, 3, R, R] -> logits [B, C]`.

    Args:
        clip: is frozen and cast here, and stays in evaluation mode.
        prompt_learner: the learned part.
        precision: what the towers compute in.
    """

    published_image_towers: tuple[str, ...] = ("image_encoder",)
    """Names under which published checkpoints of the method hold the frozen image tower."""
    prompt_learner: PromptLearner
    kept_text: Tensor | None

    def __init__(self, clip: CLIP, prompt_learner: PromptLearner, precision: Precision | None = None) -> None:
        super().__init__()
        self.precision = precision or Precision()
        self.clip = clip.set_compute_dtype(self.precision.tower_dtype).requires_grad_(False).eval()
        self.prompt_learner = prompt_learner
        self.register_buffer("kept_text", None, persistent=False)  # [C, E]
        self._in_evaluation = False

    def train(self, mode: bool = True) -> "PromptedCLIP":
        """Set the mode of the learned part; the frozen CLIP stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """A context in which prompts do not change, so that class features are computed once."""
        self._in_evaluation = True
        try:
            yield
        finally:
            self._in_evaluation = False
            if self.prompt_learner.learns_text:
                self.kept_text = None

    def text_features(self) -> Tensor:
        """Normalised float32 features `[C, E]` of the class prompts.

        They are kept during an `evaluation`, and for good if nothing is learned in the text.
        """
        is_fixed = not self.prompt_learner.learns_text
        if not is_fixed and (torch.is_grad_enabled() or not self._in_evaluation):
            return self.encode_classes()
        if self.kept_text is None:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
            ):  # a training step may use what a test has computed
                self.kept_text = self.encode_classes()
        return self.kept_text

    def encode_classes(self) -> Tensor:
        """Compute `text_features`."""
        return self.encode_text_prompts(self.prompt_learner.text())

    def encode_text_prompts(self, text: TextPrompts) -> Tensor:
        """Normalised float32 features `[C, E]` of given class prompts."""
        with self.precision.autocast():
            features = self.clip.encode_embedded_text(text.embedded, text.end_index, text.deep, text.packing)
        return F.normalize(features.float(), dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised float32 features `[B, E]` of `images`."""
        prompts = self.prompt_learner.vision()
        with self.precision.autocast():
            features = self.clip.encode_image(images, prompts)
        return F.normalize(features.float(), dim=-1)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """`exp(logit_scale)` times the cosine of each image with each class, `[B, C]`."""
        return self.clip.logit_scale.exp() * image_features @ text_features.t()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.image_features(images), self.text_features())
