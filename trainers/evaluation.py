"""How a method evaluates: class prompts are encoded once, and pictures too where no learned prompt stands among their patches.

Letters of shapes: N pictures of a list, B of a batch, C classes, E joint embedding, R the pictures' side.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import clip
from clip import CLIP
from dassl.engine import TrainerX

from .prompted_clip import PromptedCLIP, TextFeatureCache
from .speed import caches_image_features, caches_text


class ImageFeatureCache:
    """The features of whole lists of pictures, in memory for a run and in the data's cache folder for the next.

    An entry is found again only under the digest of all that it depends on, so that one whose weights or pictures have changed is never read.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[str, Tensor]] = {}  # of each loader: digest, and features on the CPU

    def get(self, loader: Any, digest: str, shape: tuple[int, int]) -> Tensor | None:
        """The features ``[N, E]`` of ``shape``, float32 on the CPU, of the pictures of ``loader``; None if they are not there whole."""
        known, features = self._latest.get(id(loader), ("", None))
        if known == digest:
            return features
        folder = loader.dataset.cache_folder
        data = None if folder is None else folder.find(digest, 4 * shape[0] * shape[1])
        if data is None:
            return None
        features = torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32)).reshape(shape)
        self._latest[id(loader)] = digest, features
        return features

    def put(self, loader: Any, digest: str, features: Tensor) -> None:
        """Keep the features ``[N, E]`` of the pictures of ``loader``."""
        features = features.cpu()
        self._latest[id(loader)] = digest, features
        folder = loader.dataset.cache_folder
        if folder is not None:
            folder.keep(digest, features.numpy().astype("<f4").tobytes(), f"the features of {len(features):,} pictures")


class FeatureEvaluation:
    """The evaluation of a trainer whose :attr:`model` is a :class:`PromptedCLIP`; what it keeps serves :meth:`model_inference` and tests alone."""

    cfg: Any
    device: torch.device
    model: PromptedCLIP
    known_model: type[PromptedCLIP] = PromptedCLIP
    """Whose forward :meth:`logits_of` of features stands for; a model with another forward is tested by that, and nothing of a test is kept."""

    @cached_property
    def _text_features(self) -> TextFeatureCache:
        return TextFeatureCache(caches_text(self.cfg))

    @cached_property
    def _image_features(self) -> ImageFeatureCache:
        return ImageFeatureCache()

    def logits_of(self, image_features: Tensor) -> Tensor:
        """Logits ``[B, C]`` of pictures of features ``[B, E]``; the text features are computed once for the present prompts."""
        return self.model.logits(image_features, self._text_features.get(self.model))

    @torch.no_grad()
    def model_inference(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of ``images`` ``[B, 3, R, R]`` as ``self.model(images)`` gives them."""
        if not self.model.has_forward_of(self.known_model):
            return self.model(images)
        return self.logits_of(self.model.image_features(images))

    def test_outputs(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits ``[B, C]`` and labels ``[B]`` of each batch; no picture is loaded where the features of all of them are known.

        Batches are the same either way, since the last bit of features may depend on their batch.
        """
        with self._text_features.steady():
            yield from self._outputs(loader)

    def _outputs(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        of_batches = self._digest_of_batches(loader)
        if of_batches is None:
            yield from super().test_outputs(loader)  # type: ignore[misc]  # the engine's
            return
        digest = self._digest_of_features(of_batches)
        rows = loader.dataset.data_source
        known = self._image_features.get(loader, digest, (len(rows), self.model.clip.config.embed_dim))
        if known is not None:
            labels = torch.tensor([row.label for row in rows])
            for features, some in zip(known.split(loader.batch_size), labels.split(loader.batch_size), strict=True):
                yield self.logits_of(features.clone().to(self.device)), some.to(self.device)  # a copy lies in memory as computed ones do
            return
        computed = []
        for batch in loader:
            images, labels = self.parse_batch_test(batch)  # type: ignore[attr-defined]  # the engine's
            computed.append(self.model.image_features(images))
            yield self.logits_of(computed[-1]), labels
        if self._digest_of_batches(loader) == of_batches:  # no picture has changed meanwhile
            self._image_features.put(loader, digest, torch.cat(computed))

    def _digest_of_batches(self, loader: Any) -> str | None:
        """SHA-256 of what ``loader`` gives; None where features of it are not to be kept, since they or the test depend on more than we know of."""
        model = self.model
        is_ours = _is(self.model_inference, FeatureEvaluation.model_inference) and self.model.has_forward_of(self.known_model)
        is_plain = is_ours and _is(self.parse_batch_test, TrainerX.parse_batch_test)  # type: ignore[attr-defined]  # the engine's
        if not (is_plain and _encodes_plainly(model) and caches_image_features(self.cfg) and model.prompt_learner.vision() is None):
            return None
        return getattr(loader, "digest_of_evaluation", lambda: None)()  # an `EpochLoader` of the engine has it

    def _digest_of_features(self, of_batches: str) -> str:
        """SHA-256 of all that the features of these batches depend on: the tower's sizes, weights and precision, the code, and what computes."""
        model = self.model
        parts = (of_batches, model.clip.config, digest_of_module(model.clip.visual), str(model.precision))
        return hashlib.sha256(repr((*parts, *_computed_on(self.device))).encode()).hexdigest()


def _is(method: Any, function: Any) -> bool:
    """Whether a bound method is still ``function``, and not what a subclass or a caller put in its place."""
    return getattr(method, "__func__", None) is function


def _encodes_plainly(model: PromptedCLIP) -> bool:
    """Whether the features of pictures are what CLIP's own code makes of its weights, which the digest names, and nothing hooked in or put in its place."""
    return (
        _is(model.image_features, PromptedCLIP.image_features)
        and _is(model.clip.encode_image, CLIP.encode_image)
        and all(
            type(module).__module__.startswith(("clip.", "torch.nn.modules."))
            and "forward" not in vars(module)
            and not (module._forward_hooks or module._forward_pre_hooks)
            for module in model.clip.visual.modules()
        )
    )


def digest_of_module(module: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of each array of ``module``; half a second for a ViT-B/16 in float32."""
    digest = hashlib.sha256()
    for name, values in sorted(module.state_dict().items()):
        digest.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _computed_on(device: torch.device) -> tuple[Any, ...]:
    """The machine, the versions and the switches that the last bit of a computation depends on."""
    if device.type == "cuda":
        machine: tuple[Any, ...] = (torch.cuda.get_device_name(device), torch.version.cuda, torch.backends.cudnn.version())
        machine += (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
        machine += (torch.backends.cuda.cudnn_sdp_enabled(),)
    else:
        machine = (_processor(), torch.backends.cpu.get_cpu_capability(), torch.backends.mkldnn.is_available(), torch.get_num_threads())
    return (torch.__version__, *machine, torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(), _source())


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's model; on systems that do not tell it, the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.processor() or platform.machine())


@lru_cache(maxsize=1)
def _source() -> str:
    """SHA-256 of the code that computes features: another version of it may round otherwise."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(clip.__file__).parent.glob("*.py")), Path(__file__).with_name("prompted_clip.py")]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
