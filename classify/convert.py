"""Between prompt files and checkpoints (`model.pth.tar-<epoch>`), ours and published ones."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import clip
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import load_checkpoint, save_checkpoint
from dassl.utils.checkpoints import POINTER_NAME, pointed_path
from trainers.backbone import BackboneIdentity
from trainers.learned import LearnedParameters
from trainers.prompt_file import FILE_NAME, INPUT_KEYS, PromptFile, input_settings

from .building import build_model, cfg_of, default_cfg


def find_source(path: str | Path) -> Path:
    """The prompt file or checkpoint that `path` means: of a folder, its prompts, or its last checkpoint."""
    path = Path(path)
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            return path / FILE_NAME
        pointers = [*path.glob(POINTER_NAME), *path.glob(f"*/{POINTER_NAME}")]
        if len(pointers) != 1:
            raise FileNotFoundError(f"{path} holds {len(pointers)} models: give one model.pth.tar-<epoch>")
        path = Path(pointed_path(str(pointers[0].parent)))
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint, run or prompt file at {path}")
    return path


def from_checkpoint(
    path: str | Path,
    method: str = "",
    backbone: str = "",
    classnames: Sequence[str] = (),
    config_paths: Sequence[str | Path] = (),
    pairs: Sequence[str] = (),
    dataset: str = "",
) -> PromptFile:
    """The prompt file of a checkpoint, which its run or the arguments describe.

    Args:
        backbone: a CLIP's name, or the path of its weights.
        classnames: the classes of the training, in the order of their labels.
        config_paths: YAML files of the training, the dataset's first.
        pairs: further settings, KEY, VALUE, ….

    Raises:
        ValueError: something is not given, or the arrays do not fit the method, its settings or the CLIP.
    """
    path = Path(path)
    checkpoint = load_checkpoint(str(path))
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path} is no checkpoint of prompts: it holds no state_dict")
    values = {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}
    epochs = checkpoint["epoch"] if isinstance(checkpoint.get("epoch"), int) else None
    of_run = path.parent.parent / FILE_NAME
    if of_run.is_file() and not (method or classnames or config_paths or pairs):
        file = PromptFile.read(of_run)
        misfits = [k for k, v in file.learned.items() if getattr(values.get(k), "shape", None) != v.shape]
        if misfits:
            raise ValueError(f"{path} is not of the run of {of_run}: {misfits[0]} does not fit")
        learned = {name: values[name].float() for name in file.learned}
        if all((learned[name] == value).all() for name, value in file.learned.items()):
            return file
        return dataclasses.replace(file, learned=learned, epochs=epochs, split=None, accuracy=None)

    run = checkpoint.get("run") or {}  # a checkpoint of this project says itself what it is
    if not hasattr(TRAINER_REGISTRY.get(run.get("trainer", "CoOp")), "chosen"):
        raise ValueError(f"{run['trainer']} learns no prompts: python -m classify evaluate takes its runs")
    cfg = default_cfg()
    for config_path in config_paths:
        cfg.merge_from_file(str(config_path))
    if run:
        full = {key: value for key, value in run["method"].items() if "." in key or key in cfg}
        full["DATASET.NAME"] = run.get("dataset") or ""  # chooses the texts of some methods
        cfg.merge_from_list([item for pair in full.items() for item in pair])
        node = TRAINER_REGISTRY.get(run["trainer"]).chosen(cfg).settings_node
        settings = {f"TRAINER.{node}.{k}": v for k, v in run["method"].items() if k not in full}
        settings |= {f"INPUT.{key}": run["input"][key] for key in INPUT_KEYS}
        cfg.merge_from_list([item for pair in settings.items() for item in pair])
    cfg.merge_from_list(list(pairs))
    method = method or run.get("trainer") or cfg.TRAINER.NAME
    backbone = backbone or run.get("backbone") or cfg.MODEL.BACKBONE.NAME
    of_training = tuple(run.get("classnames", ()))
    if classnames and of_training and tuple(classnames) != of_training:
        raise ValueError(f"{path} was trained on other classes than --classes names: leave that out")
    classnames = tuple(classnames) or of_training
    needed = {
        "--method NAME (such as MaPLe)": method,
        "--config-file FILE (the YAML of its training, from configs/trainers/)": config_paths or run,
        "--backbone NAME (such as ViT-B/16, or the path of its weights)": backbone,
        "--classes FILE (its class names, one a line, in the order of their labels)": classnames,
    }
    missing = [flag for flag, value in needed.items() if not value]
    if missing:
        raise ValueError(f"{path} does not say what it was trained with; give\n  " + "\n  ".join(missing))
    trainer = TRAINER_REGISTRY.get(method)
    if not getattr(trainer, "settings_node", ""):
        raise ValueError(f"{method} learns nothing, so {path} cannot be a checkpoint of it")
    trainer = trainer.chosen(cfg)
    trainer.check_cfg(cfg)
    clip_model = clip.load(backbone)
    file = PromptFile(
        method=method,
        settings=trainer.prompt_settings(cfg),
        backbone=BackboneIdentity.of(clip_model, backbone),
        classnames=classnames,
        input=input_settings(cfg),
        learned=values,
        dataset=dataset or run.get("dataset") or cfg.DATASET.NAME or None,
        subsample=run.get("subsample"),
        shots=run.get("shots"),
        seed=run.get("seed"),
        epochs=epochs,
    )
    model = build_model(file, clip_model, classnames)
    return dataclasses.replace(file, learned=LearnedParameters(model, method).state_dict())


def to_checkpoint(file: PromptFile, folder: str | Path) -> Path:
    """Write `<folder>/<model>/model.pth.tar-<epoch>`, which `train.py --eval-only` tests; give its path."""
    folder = Path(folder)
    if not file.learned:
        raise ValueError(f"{file.method} learns nothing, so it has no checkpoint: run it with --eval-only")
    patterns = ("result.json", POINTER_NAME, f"*/{POINTER_NAME}", "*/model*.pth.tar*")
    if any(any(folder.glob(pattern)) for pattern in patterns):
        raise ValueError(f"{folder} holds a run or a checkpoint already: name a new folder")
    trainer = TRAINER_REGISTRY.get(file.method).chosen(cfg_of(file))
    node = f"TRAINER.{trainer.settings_node}."
    run = {
        "trainer": file.method,
        "backbone": file.backbone.name,
        "dataset": file.dataset,
        "shots": file.shots,
        "seed": file.seed,
        "classnames": list(file.classnames),
        "method": {key.removeprefix(node): value for key, value in file.settings.items()},
        "input": dict(file.input),
        "subsample": file.subsample,
    }
    state = {
        "state_dict": dict(file.learned),
        "epoch": file.epochs or 1,
        "optimizer": None,  # so a training cannot continue from it
        "scheduler": None,
        "val_result": None,
        "run": {key: value for key, value in run.items() if value is not None},
    }
    return Path(save_checkpoint(state, str(folder / trainer.checkpoint_name)))


def describe(file: PromptFile) -> str:
    """What a prompt file says of its training, a line each."""
    training = [
        file.dataset,
        file.subsample and f"{file.subsample} classes",
        f"{file.shots} shots" if file.shots and file.shots > 0 else None,
        None if file.seed is None else f"seed {file.seed}",
        file.epochs and f"{file.epochs} epochs",
    ]
    settings = [f"{key.removeprefix('TRAINER.')} {json.dumps(value)}" for key, value in file.settings.items()]
    names = ", ".join(file.classnames[:6]) + (", …" if len(file.classnames) > 6 else "")
    rows = {
        "method": file.method,
        "backbone": f"{file.backbone.name} ({file.backbone.sha256[:12]}…)",
        "trained on": ", ".join(text for text in training if text) or "not known",
        "accuracy": "not known" if file.accuracy is None else f"{file.accuracy:.2f}% on {file.split}",
        "classes": f"{len(file.classnames)}: {names}",
        "settings": ", ".join(settings) or "none",
        "templates": ", ".join(map(repr, file.templates)),
        "learned": f"{sum(v.numel() for v in file.learned.values()):,} numbers in {len(file.learned)} arrays",
    }
    return "\n".join(f"{name:<10}  {value}" for name, value in rows.items() if value)
