"""The one small file that a run leaves: what was learned, and all that is needed to classify with it elsewhere.

A safetensors file: the learned arrays in float32 under the names of published checkpoints, and metadata, each entry a text, those that are no plain
text written as JSON. Reading one runs no code. ``classify`` makes a classifier of it.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .backbone import BackboneIdentity

FILE_NAME = "prompts.safetensors"
FORMAT = "learned prompts"
FORMAT_VERSION = 1
INPUT_KEYS = ("SIZE", "INTERPOLATION", "PIXEL_MEAN", "PIXEL_STD", "TRANSFORMS")
TEST_TRANSFORMS = ("normalize", "instance_norm")  # of INPUT.TRANSFORMS, those that also act in testing


class PromptFileError(ValueError):
    """A file is no prompt file, is damaged, or says something that cannot be; the message names the file and the next step."""


@dataclass(frozen=True)
class PromptFile:
    """What was learned, and what it was learned with.

    Args:
        method: the trainer's name, such as ``MPL``.
        settings: the method's settings, by their dotted keys, such as ``TRAINER.MPL.N_CTX``.
        backbone: the CLIP that the prompts were learned in.
        classnames: the classes of the training, in the order of its labels.
        input: how a picture becomes numbers: ``INPUT``'s SIZE, INTERPOLATION, PIXEL_MEAN, PIXEL_STD and TRANSFORMS.
        learned: the learned arrays, float32, under the names of published checkpoints; empty for zero-shot CLIP.
        templates: hand-written prompts with ``{}`` for the class name, of a method that learns none; else empty.
        dataset, subsample: the data of the training, and which half of its classes: all, base or new.
        shots, seed, epochs: of the training; None where it is not known.
        split, accuracy: what it was tested on, and the percentage that was right; None without a test.
        versions: of what it was made with.
    """

    method: str
    settings: Mapping[str, Any]
    backbone: BackboneIdentity
    classnames: tuple[str, ...]
    input: Mapping[str, Any]
    learned: Mapping[str, Tensor]
    templates: tuple[str, ...] = ()
    dataset: str | None = None
    subsample: str | None = None
    shots: int | None = None
    seed: int | None = None
    epochs: int | None = None
    split: str | None = None
    accuracy: float | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: present_versions())

    def describe(self) -> dict[str, Any]:
        """All but the learned arrays and the sample of the backbone, as plain data."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("learned", "backbone")}
        backbone = {"name": self.backbone.name, "sha256": self.backbone.sha256, "sizes": dict(self.backbone.sizes)}
        return {**plain, "backbone": backbone, "n_learned": sum(v.numel() for v in self.learned.values())}

    def write(self, path: str | Path) -> Path:
        """Write the file, whole or not at all; its folder is created.

        Returns:
            ``path``.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "learned"}
        about["backbone"] = vars(self.backbone)
        metadata = {key: value if isinstance(value, str) else json.dumps(value, default=list) for key, value in about.items()}
        arrays = {name: value.detach().to("cpu", torch.float32).contiguous().clone() for name, value in self.learned.items()}
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        try:
            save_file(arrays, part, {"format": FORMAT, "format_version": str(FORMAT_VERSION), **metadata})
            os.chmod(part, 0o644)
            os.replace(part, path)
        finally:
            Path(part).unlink(missing_ok=True)
        return path

    @classmethod
    def read(cls, path: str | Path) -> PromptFile:
        """Read a prompt file onto the CPU.

        Raises:
            FileNotFoundError: there is no such file.
            PromptFileError: it is no prompt file, of a later version of the format, or damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no prompt file at {path}; a training leaves one as {FILE_NAME} in its folder, and tools/export.py makes one"
            )
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                _check_format(metadata, path)
                learned = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, the file is no dict
        except (SafetensorError, OSError) as error:
            raise PromptFileError(_no_prompt_file(path, str(error))) from error
        try:
            return cls(**_parse(metadata), learned=_checked(learned))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise PromptFileError(
                f"{path} is a prompt file whose content cannot be used ({error}): it is damaged, or was changed by hand. Take a whole copy, or make "
                "it again from the run's checkpoint with tools/export.py"
            ) from error


def of_trainer(trainer: Any, method: type, learned: Mapping[str, Tensor], templates: tuple[str, ...] = ()) -> PromptFile:
    """The outcome of a trainer that has just been tested, or trained without a test.

    Args:
        trainer: gives ``cfg``, ``backbone``, the class names of its data and its evaluator's results.
        method: the trainer's class.
        learned: the learned arrays.
        templates: hand-written prompts, of a method that has such.
    """
    cfg = trainer.cfg
    summary = getattr(getattr(trainer, "evaluator", None), "summary", None) or {}  # the published Dassl keeps none
    dataset = trainer.dm.dataset
    return PromptFile(
        method=cfg.TRAINER.NAME,
        settings=method.prompt_settings(cfg),  # type: ignore[attr-defined]
        backbone=trainer.backbone,
        classnames=tuple(dataset.classnames),
        input=input_settings(cfg),
        learned=learned,
        templates=templates,
        dataset=getattr(dataset, "title", cfg.DATASET.NAME),
        subsample=cfg.DATASET.get("SUBSAMPLE_CLASSES"),
        shots=cfg.DATASET.NUM_SHOTS,
        seed=cfg.SEED,
        epochs=cfg.OPTIM.MAX_EPOCH if learned else None,
        split=cfg.TEST.get("SPLIT") if summary else None,
        accuracy=summary.get("accuracy"),
    )


def input_settings(cfg: Any) -> dict[str, Any]:
    """What a test picture's way into the model depends on, as plain data."""
    settings = {key: cfg.INPUT[key] for key in INPUT_KEYS}
    settings["TRANSFORMS"] = [name for name in cfg.INPUT.TRANSFORMS if name in TEST_TRANSFORMS]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}


def present_versions() -> dict[str, str]:
    """Versions of what computes here."""
    return {"python": platform.python_version(), "torch": torch.__version__}


def _check_format(metadata: Mapping[str, str], path: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise PromptFileError(_no_prompt_file(path, f"it holds {metadata.get('format') or 'arrays alone'}"))
    version = metadata.get("format_version", "")
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
        raise PromptFileError(
            f"{path} is of version {version or 'none'} of the format; this code reads up to {FORMAT_VERSION}: take a later version of it"
        )


def _no_prompt_file(path: Path, found: str) -> str:
    return (
        f"{path} is no prompt file ({found}). A training leaves one as {FILE_NAME} in its folder; from a checkpoint (model.pth.tar-…) make one with "
        "python tools/export.py CHECKPOINT --safetensors prompts.safetensors"
    )


_TEXTS = ("method", "dataset", "subsample", "split")
_TUPLES = ("classnames", "templates")
_NUMBERS = ("shots", "seed", "epochs", "accuracy")


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of :class:`PromptFile` in a file's metadata; later versions may have written more entries.

    Raises:
        KeyError, ValueError, TypeError: an entry is missing, no JSON, or of another kind.
    """
    known = {f.name for f in fields(PromptFile)} - {"learned"}
    about: dict[str, Any] = {}
    for key in known & metadata.keys():
        text = metadata[key]
        about[key] = text if key in _TEXTS and text != "null" else json.loads(text)
    missing = sorted({"method", "settings", "backbone", "classnames", "input"} - about.keys())
    if missing:
        raise KeyError(f"it does not say its {', '.join(missing)}")
    for key in _TUPLES:
        about[key] = tuple(about.get(key, ()))
        if not all(isinstance(text, str) for text in about[key]):
            raise TypeError(f"{key} are no texts")
    for key in _NUMBERS:
        if not isinstance(about.get(key), int | float | None):
            raise TypeError(f"{key} is no number")
    for key in ("settings", "input", "versions"):
        if not isinstance(about.get(key, {}), dict):
            raise TypeError(f"{key} is no mapping")
    backbone = about["backbone"]
    sample = tuple(float(value) for value in backbone["sample"])
    about["backbone"] = BackboneIdentity(str(backbone["name"]), str(backbone["sha256"]), sample, dict(backbone["sizes"]))
    if not about["classnames"]:
        raise ValueError("it names no classes")
    return about


def _checked(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in learned.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise ValueError(f"{name} holds {value.dtype} or numbers that are not finite; finite float32 is needed")
    return learned
