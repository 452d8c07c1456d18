"""Between the two forms in which learned prompts are kept: the prompt file, and the checkpoint layout of the published code (``.pth.tar``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clip
from dassl.utils import load_checkpoint, read_json, save_checkpoint
from dassl.utils.checkpoints import BEST_NAME, POINTER_NAME, pointed_path
from trainers.backbone import BackboneIdentity
from trainers.prompt_file import FILE_NAME, INPUT_KEYS, PromptFile, input_settings

from .building import build_prompts, default_cfg, trainer_class

RESULT_NAME = "result.json"


@dataclass(frozen=True)
class Given:
    """What a person says of a checkpoint that does not say it itself, as published ones; each may be left out where the file knows.

    Args:
        method: the trainer's name, such as ``MaPLe``.
        backbone: a CLIP's name or the path of its weights.
        classnames: the classes of the training, in the order of their labels.
        config_paths: YAML files of the training, the dataset's first.
        pairs: further settings, KEY, VALUE, ….
        dataset: name of the data, to be kept in the prompt file.
    """

    method: str = ""
    backbone: str = ""
    classnames: Sequence[str] = ()
    config_paths: Sequence[str | Path] = ()
    pairs: Sequence[Any] = ()
    dataset: str = ""


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that ``path`` means: the file itself, or the one that a run's or a model's folder points to.

    Of a run that was told to deploy the best on val (TEST.FINAL_MODEL), that one; with TEST.NO_TEST it deployed its last.

    Raises:
        FileNotFoundError: there is none; or there are several models in a run's folder.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"no checkpoint, run or prompt file at {path}")
    if not (path / POINTER_NAME).is_file():
        folders = sorted(found.parent for found in path.glob(f"*/{POINTER_NAME}"))
        if len(folders) != 1:
            raise FileNotFoundError(
                f"{path} holds {len(folders) or 'no'} folders with a checkpoint; give the path of one model.pth.tar-<epoch>"
            )
        path = folders[0]
    best = path / BEST_NAME
    test = _config_of(_result_of(best)).get("TEST", {}) if best.is_file() else {}
    if test.get("FINAL_MODEL") == "best_val" and not test.get("NO_TEST"):
        return best
    return Path(pointed_path(str(path)))


def from_checkpoint(path: str | Path, given: Given | None = None) -> PromptFile:
    """The prompt file of a checkpoint of this project, or of a published one; the CLIP is loaded to hold the arrays against it.

    Args:
        path: a ``model.pth.tar-<epoch>``, or the folder of a run or of its model.
        given: what the checkpoint does not say.

    Raises:
        FileNotFoundError: there is no checkpoint, or the CLIP's weights are not here.
        ValueError: something needed is neither in the file nor given, or the arrays do not fit the method, its settings or the CLIP.
    """
    path, given = find_checkpoint(path), given or Given()
    checkpoint = load_checkpoint(str(path))
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path} holds no state_dict, so it is no checkpoint of prompts; its entries: {', '.join(map(str, checkpoint))}")
    run = checkpoint.get("run")
    about = _of_own_run(run, path, given) if isinstance(run, dict) and run.get("trainer") else _of_published(path, given)
    clip_model = clip.load(about["backbone"])
    about["backbone"] = BackboneIdentity.of(clip_model, about["backbone"])
    values = {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}
    epochs = checkpoint["epoch"] if isinstance(checkpoint.get("epoch"), int) else None
    raw = PromptFile(**about, learned=values, epochs=epochs)
    try:
        prompts = build_prompts(raw, clip_model, raw.classnames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    learned = {name: parameter.detach() for name, parameter in prompts.published_names().items()}
    return dataclasses.replace(raw, learned=learned, **_tested(path, epochs))


def check_new_folder(folder: str | Path) -> None:
    """Refuse a folder for a checkpoint that holds a run or a checkpoint already, whose pointer the new one would take over.

    Raises:
        ValueError: it holds one; the message names it.
        NotADirectoryError: it is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is there and is no folder, which a checkpoint is written into: name another one")
    patterns = (RESULT_NAME, POINTER_NAME, "model*.pth.tar*", f"*/{POINTER_NAME}", "*/model*.pth.tar*")
    held = next((str(found.relative_to(folder)) for pattern in patterns for found in sorted(folder.glob(pattern))), "")
    if held:
        raise ValueError(
            f"{folder} holds a {'run' if held == RESULT_NAME else 'checkpoint'} already ({held}), and with another checkpoint beside it that one could "
            "no longer be gone on from: name another folder, one that is new or empty"
        )


def to_checkpoint(file: PromptFile, folder: str | Path) -> Path:
    """Write ``<folder>/<model>/model.pth.tar-<epoch>`` with the learned arrays, for ``train.py --eval-only --model-dir <folder>``.

    Optimiser and scheduler are not in a prompt file, so that a training cannot go on from it.

    Returns:
        path of the checkpoint.

    Raises:
        ValueError: the method learns nothing, so it has no checkpoints; or the folder holds a run or a checkpoint.
    """
    check_new_folder(folder)
    if not file.learned:
        raise ValueError(f"{file.method} learns nothing, so it has no checkpoint: run it with --eval-only")
    method = {key.rpartition(".")[2]: value for key, value in file.settings.items()}
    run = {
        "trainer": file.method,
        "backbone": file.backbone.name,
        "dataset": file.dataset,
        "shots": file.shots,
        "seed": file.seed,
        "classnames": list(file.classnames),
        "method": method,
        "input": dict(file.input),
        "subsample": file.subsample,
    }
    epoch = file.epochs or 1
    state = {
        "state_dict": dict(file.learned),
        "epoch": epoch,
        "optimizer": None,
        "scheduler": None,
        "val_result": None,
        "run": {key: value for key, value in run.items() if value is not None},
    }
    return Path(save_checkpoint(state, str(Path(folder) / trainer_class(file.method).checkpoint_name)))


def _of_own_run(run: Mapping[str, Any], path: Path, given: Given) -> dict[str, Any]:
    """What a checkpoint of this project says of its run.

    Raises:
        ValueError: a person says what the checkpoint says itself.
    """
    refused = [
        flag
        for flag, value in (
            ("--method", given.method),
            ("--classes", given.classnames),
            ("--config-file", given.config_paths),
            ("KEY VALUE", given.pairs),
        )
        if value
    ]
    if refused:
        raise ValueError(f"{path} says itself that it is of {run['trainer']} and with what it was trained: leave out {', '.join(refused)}")
    config = _config_of(_result_of(path))
    trainer = trainer_class(run["trainer"])
    node = trainer.settings_node
    settings = {**config.get("TRAINER", {}).get(node, {}), **run["method"]}
    return {
        "method": run["trainer"],
        "settings": {f"TRAINER.{node}.{key}": value for key, value in settings.items()},
        "backbone": given.backbone or config.get("MODEL", {}).get("BACKBONE", {}).get("NAME") or run["backbone"],
        "classnames": tuple(run["classnames"]),
        "input": _input_of({key: run["input"][key] for key in INPUT_KEYS}),
        "dataset": given.dataset or _result_of(path).get("dataset") or run.get("dataset"),
        "subsample": run.get("subsample"),
        "shots": run.get("shots"),
        "seed": run.get("seed"),
    }


def _of_published(path: Path, given: Given) -> dict[str, Any]:
    """What a person says of a published checkpoint, which says nothing of itself.

    Raises:
        ValueError: something is not said; all that is missing is named at once.
    """
    cfg = default_cfg()
    for config_path in given.config_paths:
        cfg.merge_from_file(str(config_path))
    cfg.merge_from_list([str(item) for item in given.pairs])
    method, backbone = given.method or cfg.TRAINER.NAME, given.backbone or cfg.MODEL.BACKBONE.NAME
    missing = [
        f"{flag} {what}"
        for value, flag, what in (
            (method, "--method", "NAME (MPL, MaPLe, IVLP, VPT, CoOp, CoCoOp or PromptSRC)"),
            (
                given.config_paths,
                "--config-file",
                "FILE (the YAML of its training, such as configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml)",
            ),
            (backbone, "--backbone", "NAME (such as ViT-B/16, or the path of its weights)"),
            (given.classnames, "--classes", "FILE (the class names of its training, one a line, in the order of their labels)"),
        )
        if not value
    ]
    if missing:
        raise ValueError(f"{path} does not say what it was trained with, as published checkpoints do not; give\n  " + "\n  ".join(missing))
    cfg.merge_from_list(["TRAINER.NAME", method])
    trainer = trainer_class(method)
    if not hasattr(trainer, "settings_node"):
        raise ValueError(
            f"{method} learns nothing, so {path} cannot be a checkpoint of it: run it with --eval-only, which writes its {FILE_NAME}"
        )
    trainer.check_cfg(cfg)
    return {
        "method": method,
        "settings": trainer.prompt_settings(cfg),
        "backbone": backbone,
        "classnames": tuple(given.classnames),
        "input": input_settings(cfg),
        "dataset": given.dataset or cfg.DATASET.NAME or None,
    }


def _input_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``INPUT``'s settings of a run as a prompt file keeps them."""
    cfg = default_cfg()
    cfg.merge_from_list([item for key, value in settings.items() for item in (f"INPUT.{key}", value)])
    return input_settings(cfg)


def _result_of(checkpoint_path: Path) -> dict[str, Any]:
    """``result.json`` of the run that a checkpoint lies in; empty if there is none."""
    path = checkpoint_path.parent.parent / RESULT_NAME
    return read_json(str(path)) if path.is_file() else {}


def _config_of(result: Mapping[str, Any]) -> dict[str, Any]:
    return result.get("config") or {}


def _tested(checkpoint_path: Path, epochs: int | None) -> dict[str, Any]:
    """Split and accuracy of the run's own test, where it was of this checkpoint: the last epoch's, or the best on val of a run that deploys it."""
    result = _result_of(checkpoint_path)
    deploys_best = _config_of(result).get("TEST", {}).get("FINAL_MODEL") == "best_val"
    is_deployed = checkpoint_path.name == BEST_NAME if deploys_best else epochs is not None and result.get("epochs_done") == epochs
    if not is_deployed or not result.get("finished"):
        return {}
    return {"split": result.get("split"), "accuracy": result.get("accuracy")}


def describe_text(file: PromptFile) -> str:
    """What a prompt file says of itself, a line each, for a terminal."""
    about = file.describe()
    accuracy = "not known" if file.accuracy is None else f"{file.accuracy:.2f}% on {file.split}"
    rows = {
        "method": file.method,
        "backbone": f"{file.backbone.name} ({file.backbone.sha256[:12]}…)",
        "trained on": ", ".join(
            text
            for text in (
                file.dataset or "",
                f"{file.subsample} classes" if file.subsample else "",
                f"{file.shots} shots" if (file.shots or 0) > 0 else "",
                "" if file.seed is None else f"seed {file.seed}",
                f"{file.epochs} epochs" if file.epochs else "",
            )
            if text
        )
        or "not known",
        "accuracy": accuracy,
        "classes": f"{len(file.classnames)}: {', '.join(file.classnames[:6])}{', …' if len(file.classnames) > 6 else ''}",
        "settings": ", ".join(f"{key.removeprefix('TRAINER.')} {json.dumps(value)}" for key, value in file.settings.items()) or "none",
        "templates": ", ".join(map(repr, file.templates)),
        "learned": f"{about['n_learned']:,} numbers in {len(file.learned)} arrays",
    }
    return "\n".join(f"{name:<10}  {value}" for name, value in rows.items() if value)
