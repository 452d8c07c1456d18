"""The classifier without this project: one ONNX file or one torch.export program, from pictures to logits.

Both take ``images`` float32 ``[B, 3, R, R]``, prepared as :attr:`classify.PromptClassifier.transform` does, for any B, and give ``logits`` ``[B, C]``,
``image_features`` ``[B, E]`` and ``text_features`` ``[C, E]`` (CoCoOp: ``[B, C, E]``, which depend on the picture). Class names, picture size, mean and
standard deviation are in the file.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import LayerPrompts
from dassl.utils.files import check_target
from trainers.cocoop import ConditionallyPromptedCLIP, ConditionalWords
from trainers.prompted_clip import PromptedCLIP

from .classifier import PromptClassifier

OUTPUTS = ("logits", "image_features", "text_features")
ONNX_OPSET = 18  # the oldest that PyTorch's exporter writes, so that most runtimes read it
MAX_ONE_FILE = 1_800_000_000  # bytes of weights in one ONNX file; protobuf, its container, ends at 2 GiB
MAX_BATCH = 2**16  # pictures at a time; PyTorch 2.6 asks for some limit, and no machine comes near this one
TOLERANCE = 1e-3  # of logits, which are of the order of 10: far above float32's rounding over a tower, far below what changes a prediction
ABOUT = "about.json"  # entry of a torch.export file that holds what :func:`about` says


class ExportableImageTower(nn.Module):
    """The image tower with its prompts computed once: ``[B, 3, R, R]`` -> normalised features ``[B, E]``."""

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        self.visual = classifier.model.clip.visual
        prompts = classifier.model.prompt_learner.vision()
        self.schedule = None if prompts is None else prompts.schedule
        tokens = [] if prompts is None else prompts.tokens
        for layer_index, token in enumerate(tokens):
            self.register_buffer(f"tokens_{layer_index}", None if token is None else token.detach().clone())
        self.n_entries = len(tokens)

    def forward(self, images: Tensor) -> Tensor:
        if self.schedule is None:
            features = self.visual(images)
        else:
            tokens = [getattr(self, f"tokens_{layer_index}") for layer_index in range(self.n_entries)]
            features = self.visual(images, LayerPrompts(self.schedule, tokens))
        return F.normalize(features.float(), dim=-1)


class ExportableClassifier(nn.Module):
    """Image tower and a matrix of text features: ``[B, 3, R, R]`` -> logits ``[B, C]``, image features ``[B, E]``, text features ``[C, E]``."""

    class_features: Tensor

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        self.image_tower = ExportableImageTower(classifier)
        self.register_buffer("scale", classifier.model.clip.logit_scale.detach().exp())
        self.register_buffer("class_features", classifier.encode_text().clone())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image_features = self.image_tower(images)
        return self.scale * image_features @ self.class_features.t(), image_features, self.class_features.clone()


class ExportableConditionalClassifier(nn.Module):
    """CoCoOp, whose class features depend on the picture, with its text tower inside: as :class:`ExportableClassifier`, text features ``[B, C, E]``.

    All B * C prompts are encoded at once, which training does picture by picture to save memory.
    """

    end_index: Tensor
    before: Tensor
    after: Tensor

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        words = classifier.model.prompt_learner
        assert isinstance(words, ConditionalWords)
        self.image_tower = ExportableImageTower(classifier)
        self.text_tower = copy.deepcopy(classifier.model.clip)
        setattr(self.text_tower, "token_embedding", nn.Identity())  # noqa: B010, of another type; the words are embedded already, and 49,408 others are not needed
        self.meta_net = words.meta_net
        n_ctx, embedded = words.class_prompts.n_ctx, words.class_prompts.embedded
        self.register_buffer("ctx", words.ctx.detach().clone())
        self.register_buffer("before", embedded[:, :1].clone())
        self.register_buffer("after", embedded[:, 1 + n_ctx :].clone())
        self.register_buffer("end_index", words.class_prompts.end_index.clone())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image_features = self.image_tower(images)
        contexts = self.ctx + self.meta_net(image_features).unsqueeze(1)  # [B, n, D]
        n_images, n_classes = contexts.shape[0], self.before.shape[0]
        contexts = contexts.unsqueeze(1).expand(-1, n_classes, -1, -1)  # [B, C, n, D]
        parts = [self.before.expand(n_images, -1, -1, -1), contexts, self.after.expand(n_images, -1, -1, -1)]
        embedded = torch.cat(parts, dim=2).flatten(0, 1)  # [B * C, L, D]
        features = self.text_tower.encode_embedded_text(embedded, self.end_index.repeat(n_images))
        text_features = F.normalize(features.float(), dim=-1).unflatten(0, (-1, n_classes))  # [B, C, E]
        logits = self.text_tower.logit_scale.exp() * (text_features @ image_features.unsqueeze(-1)).squeeze(-1)
        return logits, image_features, text_features


def exportable(classifier: PromptClassifier) -> nn.Module:
    """The module that is exported, in evaluation mode.

    Raises:
        ValueError: the classifier is not on the CPU in float32, the one form that every runtime reads; or its method's model computes logits in a way of
            its own, which the modules above do not know.
    """
    if classifier.device.type != "cpu" or classifier.model.clip.dtype != torch.float32 or classifier.model.precision.autocast_dtype:
        raise ValueError('a classifier is exported from the CPU in float32: load it with device="cpu", precision="fp32"')
    if not classifier.model.has_forward_of(ConditionallyPromptedCLIP if classifier.depends_on_picture else PromptedCLIP):
        raise ValueError(
            f"{classifier.file.method} computes its logits in a forward of its own ({type(classifier.model).__name__}), of which the exported file would "
            "hold nothing: use it from Python (PromptClassifier), or export a method that compares features as CLIP does"
        )
    module: nn.Module = ExportableConditionalClassifier(classifier) if classifier.depends_on_picture else ExportableClassifier(classifier)
    return module.requires_grad_(False).eval()


def about(classifier: PromptClassifier) -> dict[str, str]:
    """What a program that reads the exported file needs to know, each entry a text, lists as JSON."""
    file = classifier.file
    return {
        "method": file.method,
        "classnames": json.dumps(classifier.classnames),
        "input_size": json.dumps(list(file.input["SIZE"])),
        "interpolation": str(file.input["INTERPOLATION"]),
        "pixel_mean": json.dumps(list(file.input["PIXEL_MEAN"])),
        "pixel_std": json.dumps(list(file.input["PIXEL_STD"])),
        "transforms": json.dumps(list(file.input["TRANSFORMS"])),
        "backbone": file.backbone.name,
        "backbone_sha256": file.backbone.sha256,
    }


def export_torch(classifier: PromptClassifier, path: str | Path) -> Path:
    """Write a program of torch.export, which ``torch.export.load(path).module()`` runs for any number of pictures.

    Raises:
        ValueError: the classifier is not on the CPU in float32.
        FileExistsError: what is at ``path`` is no ordinary file.
    """
    check_target(str(path))
    path = Path(path)
    program = _program(classifier)
    with _whole(path) as folder:
        part = folder / "program.pt2"  # the ending that PyTorch wants
        torch.export.save(program, part, extra_files={ABOUT: json.dumps(about(classifier))})
        part.rename(folder / path.name)
    return path


def export_onnx(classifier: PromptClassifier, path: str | Path) -> Path:
    """Write an ONNX file, whose metadata hold :func:`about`; weights beyond 1.8 GB go into a second file beside it.

    Raises:
        ModuleNotFoundError: onnxscript, which PyTorch's exporter needs, is not installed.
        ValueError: the classifier is not on the CPU in float32.
        FileExistsError: what is at ``path`` is no ordinary file.
    """
    check_target(str(path))
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "PyTorch writes ONNX with onnxscript, which is not installed: pip install onnx onnxscript onnxruntime"
        ) from error
    path = Path(path)
    program = _program(classifier)
    n_bytes = sum(values.numel() * values.element_size() for values in program.state_dict.values())
    with _quiet_exporter():
        written = torch.onnx.export(
            program, input_names=["images"], output_names=list(OUTPUTS), opset_version=ONNX_OPSET, dynamo=True, verbose=False
        )
    assert written is not None
    written.model.metadata_props.update(about(classifier))
    with _whole(path) as folder:
        written.save(folder / path.name, external_data=n_bytes > MAX_ONE_FILE)
    return path


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A folder for what becomes ``path`` and files beside it: they are moved there when all are written, ``path`` last; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder)
        for written in sorted(Path(folder).iterdir(), key=lambda found: found.name == path.name):
            os.replace(written, path.with_name(written.name))


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's warnings of its own deprecations and its notes on graphs, which say nothing that a person could act on; errors are raised."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _program(classifier: PromptClassifier) -> torch.export.ExportedProgram:
    """The classifier's computation for any number of pictures."""
    size = classifier.model.clip.config.image_size
    example = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        return torch.export.export(
            exportable(classifier), (example,), dynamic_shapes=({0: torch.export.Dim("batch", max=MAX_BATCH)},), strict=False
        )


def largest_difference(classifier: PromptClassifier, run: Any) -> float:
    """The largest difference of logits between the classifier and an exported one, over one picture and over three.

    Args:
        run: from images ``[B, 3, R, R]`` to logits ``[B, C]``, both tensors.
    """
    size = classifier.model.clip.config.image_size
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    return max(float((classifier.logits(batch) - run(batch)).abs().max()) for batch in (images[:1], images))


def onnx_logits(path: str | Path, images: Tensor) -> Tensor:
    """Logits of an ONNX file for ``images``, computed by onnxruntime on the CPU.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def torch_export_logits(path: str | Path, images: Tensor) -> Tensor:
    """Logits of a torch.export file for ``images``."""
    return torch.export.load(path).module()(images)[0]
