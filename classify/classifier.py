"""A classifier of pictures made of learned prompts, for any class names.

Letters of shapes: B pictures, C classes, E joint embedding, R the pictures' side.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import clip
from clip import CLIP
from dassl.data.transforms import build_transform
from dassl.utils.environment import usable_device
from dassl.utils.images import MODES_BEYOND_8_BITS, ImageError
from trainers.backbone import BackboneIdentity
from trainers.cocoop import ConditionallyPromptedCLIP
from trainers.precision import Precision, check_precision, choose_precision
from trainers.prompt_file import PromptFile
from trainers.prompted_clip import PromptedCLIP, TextFeatureCache

from .building import build_model, build_prompts, cfg_of
from .names import checked_names
from .pictures import Picture, UnreadablePicture, find_pictures, prepared_batches, read_picture, source_of
from .predictions import Prediction, top_scores

BATCH_SIZE = 32  # pictures computed at a time unless told otherwise; our choice: well under 2 GB with ViT-B/16


class PromptClassifier:
    """Learned prompts, the CLIP that they were learned in, and class names.

    Made by :meth:`load`. Whatever gives pictures may be a path of a picture or of a folder, a PIL picture, a tensor as :attr:`transform` gives it
    (``[3, R, R]``, or a batch ``[B, 3, R, R]``), or a list of paths, PIL pictures and single tensors.

    Attributes:
        file: what was learned and with what: method, settings, classes and accuracy of the training.
        model: the prompted CLIP; nothing in it requires a gradient.
        transform: from a PIL picture to the tensor ``[3, R, R]`` that the model reads, the same as in the training's test.
        device: where the model is.
    """

    def __init__(
        self, file: PromptFile, clip_model: CLIP, classnames: Sequence[str] | None = None, precision: Precision | None = None
    ) -> None:
        """Put the prompts of ``file`` into ``clip_model``, which becomes part of the classifier and is on the device to compute on.

        Raises:
            ValueError: they do not fit, or the class names cannot be used.
        """
        self.file = file
        self._classnames = checked_names(file.classnames if classnames is None else classnames)
        self.device = clip_model.token_embedding.weight.device
        _check_size(file, clip_model)
        transform = build_transform(cfg_of(file), is_train=False)
        assert transform is not None, "a prompt file has no INPUT.NO_TRANSFORM"
        self.transform: Callable[[Image.Image], Tensor] = transform
        self.model: PromptedCLIP = build_model(file, clip_model, self._classnames, precision or Precision(device_type=self.device.type))
        self._text_features = TextFeatureCache()

    @classmethod
    def load(
        cls,
        path: str | Path,
        classnames: Sequence[str] | None = None,
        backbone: str | Path | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> PromptClassifier:
        """The classifier of a prompt file.

        Args:
            path: ``prompts.safetensors`` of a run's folder, or what ``tools/export.py`` has made.
            classnames: any names; those of the training by default.
            backbone: where the CLIP's weights are, if the name in the file does not tell; it has to be the CLIP of the training.
            device: such as ``cpu`` or ``cuda:1``; by default a GPU if there is one.
            precision: fp16, bf16, amp or fp32; by default the training's on a GPU, and fp32 on a CPU.

        Raises:
            FileNotFoundError: there is no such file, or the CLIP's weights are not here and cannot be fetched.
            UnknownNameError: the method of the file is not known here.
            ValueError: the file is no prompt file, it belongs to another CLIP, or the device is not here; the message says what to do.
        """
        return cls.of_file(PromptFile.read(path), path, classnames, backbone, device, precision)

    @classmethod
    def of_file(
        cls,
        file: PromptFile,
        path: str | Path,
        classnames: Sequence[str] | None = None,
        backbone: str | Path | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> PromptClassifier:
        """The classifier of a prompt file that is read already; ``path`` is where it comes from, for messages. Else as :meth:`load`."""
        name = str(backbone or file.backbone.name)
        if precision is not None:
            check_precision(precision, "precision")
        device = usable_device(device)
        with _named(path):
            cfg_of(file)  # what is not known here is told before the CLIP is loaded
        clip_model = _load_backbone(file, name, path)
        check_backbone(file, clip_model, name, path)
        chosen = choose_precision(precision or _own_precision(file, device), device)
        names = checked_names(file.classnames if classnames is None else classnames)
        with _named(path):
            return cls(file, clip_model.to(device), names, chosen)

    @property
    def classnames(self) -> tuple[str, ...]:
        """The classes that pictures are told apart by; set any others, and their features are computed once, at the next picture."""
        return self._classnames

    @classnames.setter
    def classnames(self, names: Sequence[str]) -> None:
        names = checked_names(names)
        if names != self._classnames:
            self.model.set_prompt_learner(build_prompts(self.file, self.model.clip, names))
            self._classnames, self._text_features = names, TextFeatureCache()

    @property
    def depends_on_picture(self) -> bool:
        """Whether the class features are other ones for each picture, as CoCoOp has them."""
        return isinstance(self.model, ConditionallyPromptedCLIP)

    @torch.no_grad()
    def encode_image(self, pictures: Any) -> Tensor:
        """Normalised float32 features ``[B, E]`` of pictures, with the learned prompts of the image tower.

        Raises:
            ImageError: a file cannot be read.
        """
        return torch.cat([self.model.image_features(images) for images in self._batches(pictures)])

    @torch.no_grad()
    def encode_text(self, pictures: Any = None) -> Tensor:
        """Normalised float32 features ``[C, E]`` of the present class names, with the learned prompts of the text tower; computed once.

        Args:
            pictures: for CoCoOp alone, whose class features depend on the picture; the result is then ``[B, C, E]``.

        Raises:
            ValueError: pictures are needed and not given, or given and not needed.
        """
        if self.depends_on_picture != (pictures is not None):
            needed = "depend on the picture: give pictures" if self.depends_on_picture else "are the same for all pictures: give none"
            raise ValueError(f"the class features of {self.file.method} {needed}")
        if pictures is None:
            return self._text_features.get(self.model)
        assert isinstance(self.model, ConditionallyPromptedCLIP)
        return torch.cat([self.model.text_features_of(self.model.image_features(images)) for images in self._batches(pictures)])

    @torch.no_grad()
    def logits(self, pictures: Any) -> Tensor:
        """Logits ``[B, C]``: ``exp(logit_scale)`` times the cosine of each picture with each class.

        Raises:
            ImageError: a file cannot be read.
        """
        return torch.cat([self._logits(images) for images in self._batches(pictures)])

    def classify(self, pictures: Any, top: int = 5, skip_unreadable: bool = False) -> Any:
        """The likeliest classes.

        Args:
            pictures: one or many, in any form.
            top: how many classes of each picture, at least 1.
            skip_unreadable: leave out files that cannot be read, with a warning that names them.

        Returns:
            a :class:`Prediction` of a single picture; a list of them, in order, of a folder, a batch or a list.

        Raises:
            ImageError: a file cannot be read.
            FileNotFoundError: there is no such file or folder, or a folder holds no picture.
        """
        predictions = []
        for found in self.stream(self._listed(pictures), top):
            if isinstance(found, Prediction):
                predictions.append(found)
            elif skip_unreadable:
                warnings.warn(f"left out: {found.source}: {found.reason}", stacklevel=2)
            else:
                raise ImageError(f"{found.source}: {found.reason}")
        return predictions[0] if predictions and _is_one(pictures) else predictions

    @torch.no_grad()
    def stream(self, pictures: Iterable[Picture], top: int = 5, batch_size: int = BATCH_SIZE) -> Iterator[Prediction | UnreadablePicture]:
        """What :meth:`classify` gives, one after the other as they are computed, for long lists.

        Args:
            pictures: paths of pictures, PIL pictures and tensors ``[3, R, R]``; see also :func:`classify.pictures.find_pictures`.
            top: classes of each picture.
            batch_size: pictures computed at a time.

        Yields:
            in the order of ``pictures``, a :class:`Prediction`, or an :class:`UnreadablePicture` for a file that cannot be read.
        """
        for batch in prepared_batches(pictures, self._prepare, batch_size):
            tensors = [prepared for _, prepared in batch if isinstance(prepared, Tensor)]
            rows = iter(self._logits(torch.stack(tensors).to(self.device)).float().cpu() if tensors else ())
            for picture, prepared in batch:
                if isinstance(prepared, UnreadablePicture):
                    yield prepared
                else:
                    yield Prediction(source_of(picture), top_scores(next(rows), self._classnames, top))

    def _logits(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of a batch on the device, with class features that are computed once where they can be."""
        if not self.model.has_forward_of(PromptedCLIP):
            return self.model(images)
        return self.model.logits(self.model.image_features(images), self._text_features.get(self.model))

    def _listed(self, pictures: Any) -> list[Picture]:
        """Any form of pictures as a list of single ones."""
        if isinstance(pictures, (str, Path)):
            return list(find_pictures(pictures))
        if isinstance(pictures, Image.Image) or (isinstance(pictures, Tensor) and pictures.ndim == 3):
            return [pictures]
        if isinstance(pictures, (Tensor, list, tuple)):
            return list(pictures)
        raise TypeError(
            f"pictures are a path, a PIL picture, a tensor [3, R, R] or [B, 3, R, R], or a list of them; received a {type(pictures).__name__}"
        )

    def _batches(self, pictures: Any) -> Iterator[Tensor]:
        """Batches ``[B, 3, R, R]`` on the device."""
        listed = self._listed(pictures)
        if not listed:
            raise ValueError("no picture is given: the list is empty")
        for batch in prepared_batches(listed, self._prepare, BATCH_SIZE):
            for _, prepared in batch:
                if isinstance(prepared, UnreadablePicture):
                    raise ImageError(f"{prepared.source}: {prepared.reason}")
            yield torch.stack([prepared for _, prepared in batch]).to(self.device)

    def _prepare(self, picture: Picture) -> Tensor | UnreadablePicture:
        """One picture as the tensor ``[3, R, R]`` that the model reads."""
        if isinstance(picture, Tensor):
            size = self.model.clip.config.image_size
            if picture.shape != (3, size, size) or not picture.is_floating_point():
                raise ValueError(
                    f"a picture given as a tensor is what classifier.transform makes of a PIL picture, float [3, {size}, {size}]; received "
                    f"{picture.dtype} {list(picture.shape)}"
                )
            return picture.to(self.device)
        if isinstance(picture, (str, Path)):
            read = read_picture(picture)
            return read if isinstance(read, UnreadablePicture) else self.transform(read)
        if not isinstance(picture, Image.Image):
            raise TypeError(f"a list of pictures holds paths, PIL pictures and tensors; received a {type(picture).__name__}")
        if picture.mode in MODES_BEYOND_8_BITS and np.asarray(picture).max() > 255:
            raise ValueError(
                f"the picture is of Pillow's mode {picture.mode} with values beyond 255, which RGB cuts off there, nearly all white: bring it to 8 bits"
            )
        return self.transform(picture.convert("RGB"))


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """In this block, errors begin with the path of the prompt file that they are of."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise type(error)(f"{path}: {error.args[0] if error.args else error}") from error


def check_backbone(file: PromptFile, clip_model: CLIP, name: str, path: str | Path) -> None:
    """Refuse another CLIP than that of the training; warn of the same one with other roundings.

    Args:
        clip_model: as :func:`clip.load` gives it.
        name: where it comes from, for messages.
        path: of the prompt file, for messages.

    Raises:
        ValueError: sizes or weights are others, so that the prompts would mean nothing.
    """
    wanted, found = file.backbone, BackboneIdentity.of(clip_model, name)
    differences = wanted.differences(found)
    if differences:
        raise ValueError(
            f"{path} was learned in the CLIP {wanted.name}, and {name} is another one: {'; '.join(differences)}. Its predictions would mean nothing. "
            f"Give the weights of the training: backbone={wanted.name!r} or their path"
        )
    if wanted.sha256 != found.sha256:
        warnings.warn(
            f"the weights {name} are not bit for bit those that {path} was learned in ({wanted.name}, {wanted.sha256[:12]}…, here {found.sha256[:12]}…), but "
            "near them, as other roundings or a light fine-tuning are: expect slightly other logits, and hold the accuracy against the training's",
            stacklevel=3,
        )


def _load_backbone(file: PromptFile, name: str, path: str | Path) -> CLIP:
    try:
        return clip.load(name)
    except ValueError as error:
        if Path(name).expanduser().is_file():
            raise
        raise ValueError(
            f"{path} was learned in the CLIP {file.backbone.name}, and {name!r} is neither a name of weights nor a file here: give their path as backbone "
            f"(--backbone of the tools). {error}"
        ) from error


def _own_precision(file: PromptFile, device: torch.device) -> str:
    """The training's precision on a GPU (float16 for zero-shot CLIP, as its trainer), float32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return next((str(value) for key, value in file.settings.items() if key.endswith(".PREC")), "fp16")


def _check_size(file: PromptFile, clip_model: CLIP) -> None:
    size = clip_model.config.image_size
    if tuple(file.input["SIZE"]) != (size, size):
        raise ValueError(
            f"the prompt file prepares pictures of {tuple(file.input['SIZE'])}, but its CLIP reads {size} x {size}: it cannot be used"
        )


def _is_one(pictures: Any) -> bool:
    """Whether ``pictures`` is a single picture, and no folder, batch or list."""
    if isinstance(pictures, (str, Path)):
        return Path(pictures).expanduser().is_file()
    return isinstance(pictures, Image.Image) or (isinstance(pictures, Tensor) and pictures.ndim == 3)
