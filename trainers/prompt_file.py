"""The one small file that a run leaves: what was learned, and all that is needed to classify with it elsewhere.

A safetensors file: the learned arrays in float32 under the names of published checkpoints, and metadata, each entry a text, those that are no plain
text written as JSON. Reading one runs no code. ``classify`` makes a classifier of it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
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

        Raises:
            FileExistsError: a folder, a device or the like is there.
        """
        path = Path(path)
        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "learned"}
        about["backbone"] = vars(self.backbone)
        metadata = {key: value if isinstance(value, str) else json.dumps(value, default=list) for key, value in about.items()}
        arrays = {name: value.detach().to("cpu", torch.float32).contiguous().clone() for name, value in self.learned.items()}
        content = save(arrays, {"format": FORMAT, "format_version": str(FORMAT_VERSION), **metadata})
        _write_whole(Path(path), content)
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
                f"{path} is a prompt file whose content cannot be used ({error}): it is damaged, or was changed by hand. Take a whole copy, "
                "or make it again from the run's checkpoint with tools/export.py"
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
        raise PromptFileError(_no_prompt_file(path, f"it holds {metadata.get('format', '')[:100]!a}"))
    version = metadata.get("format_version", "")
    if not re.fullmatch("[0-9]{1,9}", version) or not 1 <= int(version) <= FORMAT_VERSION:
        raise PromptFileError(
            f"{path} is of version {version[:100]!a} of the format; this code reads up to {FORMAT_VERSION}: take a later version of it"
        )


def _no_prompt_file(path: Path, found: str) -> str:
    return (
        f"{path} is no prompt file ({found}). A training leaves one as {FILE_NAME} in its folder; from a checkpoint (model.pth.tar-…) make one with "
        "python tools/export.py CHECKPOINT --safetensors prompts.safetensors"
    )


_TEXTS = ("method", "dataset", "subsample", "split")
_LISTS = ("classnames", "templates")
_COUNTS = ("shots", "seed", "epochs")
_MAPPINGS = ("settings", "input", "versions")
_NEEDED = ("method", "settings", "backbone", "classnames", "input")
_LONGEST = 200  # characters of a method, a dataset and the like; our choice: they are shown on a line
_MOST = (
    1024  # of a method's N_… and …_DEPTH; our choice: a text has 77 positions, and more would take the memory before arrays are compared
)


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of :class:`PromptFile` in a file's metadata; later versions may have written more entries.

    Raises:
        ValueError, TypeError, KeyError: an entry is missing, no JSON, of another kind, or beyond what can be.
    """
    known = {f.name for f in fields(PromptFile)} - {"learned"}
    about: dict[str, Any] = {}
    for key in known & metadata.keys():
        text = metadata[key]
        about[key] = text if key in _TEXTS and text != "null" else json.loads(text)
    _need([key for key in _NEEDED if about.get(key) is not None], _NEEDED, "it does not say its {}")
    for key in _TEXTS:
        if about.get(key) not in (None, ""):
            _check_text(about[key], key)
    for key in _LISTS:
        values = about.get(key, [])
        _need_that(isinstance(values, list) and all(isinstance(text, str) for text in values), f"{key} are no texts")
        _need_that(all(is_shown_as_it_is(text) for text in values), f"{key} hold control characters")
        about[key] = tuple(values)
    for key in _COUNTS:
        _need_that(about.get(key) is None or (type(about[key]) is int and abs(about[key]) < 2**63), f"{key} is no whole number")
    accuracy = about.get("accuracy")
    _need_that(accuracy is None or (_is_number(accuracy) and 0 <= accuracy <= 100), "accuracy is no number from 0 to 100")
    for key in _MAPPINGS:
        _need_that(isinstance(about.get(key, {}), dict), f"{key} is no mapping")
    _need_that(bool(about["classnames"]), "it names no classes")
    _need_that(all("{}" in template for template in about["templates"]), "a template has no {} for the class name")
    _check_settings(about["settings"])
    _check_input(about["input"])
    about["backbone"] = _parse_backbone(about["backbone"])
    return about


def _parse_backbone(entry: Any) -> BackboneIdentity:
    _need_that(isinstance(entry, dict), "backbone is no mapping")
    _need(entry, ("name", "sha256", "sample", "sizes"), "backbone does not say its {}")
    name = _check_text(entry["name"], "the backbone's name")
    _need_that(not re.match(r"[/\\~.]|[A-Za-z]:[/\\]", name), "the backbone's name is a path, which is only for the one who loads to say")
    _need_that(bool(re.fullmatch("[0-9a-f]{64}", str(entry["sha256"]))), "the backbone's sha256 is none")
    sample = entry["sample"]
    _need_that(isinstance(sample, list) and bool(sample) and all(map(_is_number, sample)), "the backbone's sample holds no finite numbers")
    _need_that(isinstance(entry["sizes"], dict), "the backbone's sizes are no mapping")
    return BackboneIdentity(name, entry["sha256"], tuple(map(float, sample)), entry["sizes"])


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of something else than the method, and counts that would take all memory; values are checked by the method."""
    for key, value in settings.items():
        _check_text(key, "a setting's name")
        _need_that(key.startswith("TRAINER.") and key.count(".") == 2, f"{key} is no setting of a method")
        name = key.rpartition(".")[2]
        counts = value if isinstance(value, list) else [value]
        if name.startswith("N_") or "_N_" in name or "DEPTH" in name:
            _need_that(not any(type(count) is int and count > _MOST for count in counts), f"{key} is beyond {_MOST}")


def _check_input(settings: Mapping[str, Any]) -> None:
    """Refuse an incomplete or impossible preparation of pictures."""
    _need(settings, INPUT_KEYS, "input does not say its {}")
    size, mean, std = (settings[key] for key in ("SIZE", "PIXEL_MEAN", "PIXEL_STD"))
    _need_that(
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size), "input's SIZE is no [R, R]"
    )
    for key, values in (("PIXEL_MEAN", mean), ("PIXEL_STD", std)):
        _need_that(isinstance(values, list) and len(values) == 3 and all(map(_is_number, values)), f"input's {key} is no list of 3 numbers")
    _need_that(all(value > 0 for value in std), "input's PIXEL_STD is not above 0")


def is_shown_as_it_is(text: str) -> bool:
    """Whether ``text`` holds no control characters, line ends among them, and no half of a surrogate pair: such can be printed on a line of a terminal."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def _check_text(value: Any, name: str) -> str:
    _need_that(isinstance(value, str) and bool(value), f"{name} is no text")
    _need_that(len(value) <= _LONGEST and is_shown_as_it_is(value), f"{name} is beyond {_LONGEST} characters, or holds control characters")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _need(given: Iterable[str], wanted: Iterable[str], message: str) -> None:
    missing = sorted(set(wanted) - set(given))
    _need_that(not missing, message.format(", ".join(missing)))


def _need_that(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _checked(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in learned.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise ValueError(f"{name[:_LONGEST]} holds {value.dtype} or numbers that are not finite; finite float32 is needed")
    return learned


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or as it was. The engine has more for its own files; this one is also written beside the published Dassl."""
    if path.exists() and not path.is_file():
        raise FileExistsError(f"cannot write the file {path}: what is there is no ordinary file; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
