"""What makes a run the run it is, so that a checkpoint is gone on from, or tested, only under the settings that made it."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from .records import plain


def method_settings(cfg: Any, node: str) -> dict[str, Any]:
    """The method's own settings, `cfg.TRAINER.<node>`, as plain data; without PREC, which may change."""
    return {key: value for key, value in plain(cfg.TRAINER.get(node, {})).items() if key != "PREC"}


def training_settings(cfg: Any) -> dict[str, Any]:
    """What every training depends on, as plain data; without the number of epochs, which may change.

    The file that MODEL.INIT_WEIGHTS names counts by its content, wherever it lies.
    """
    loader, start = cfg.DATALOADER, cfg.MODEL.INIT_WEIGHTS
    return {
        "optim": {key: value for key, value in plain(cfg.OPTIM).items() if key != "MAX_EPOCH"},
        "input": plain(cfg.INPUT),
        "batch_size": loader.TRAIN_X.BATCH_SIZE,
        "train_x": {key: value for key, value in plain(loader.TRAIN_X).items() if key != "BATCH_SIZE"},
        "train_u": {"SAME_AS_X": True} if loader.TRAIN_U.SAME_AS_X else plain(loader.TRAIN_U),
        "k_transforms": loader.K_TRANSFORMS,
        "count_iter": cfg.TRAIN.COUNT_ITER,
        "init_weights": _digest_of_file(os.path.expanduser(start)),
    }


def _digest_of_file(path: str) -> str:
    """SHA-256 of a file; the path itself where there is none, as a trainer of somebody's own may read it otherwise."""
    if not os.path.isfile(path):
        return path
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def digest_rows(rows: Iterable[Any], root: str) -> str:
    """SHA-256 of the paths and labels of Datum rows, whatever their order and wherever the folder of the data stands.

    Args:
        rows: the rows.
        root: DATASET.ROOT; of a path that does not begin with it, the file's name alone counts.
    """
    roots = [os.path.join(folder, "") for folder in (os.path.abspath(os.path.expanduser(root)), root)]

    def name(path: str) -> str:
        prefix = next((folder for folder in roots if folder and path.startswith(folder)), None)
        return os.path.basename(path) if prefix is None else path[len(prefix) :].replace(os.sep, "/")

    lines = sorted(f"{name(row.impath)}\t{row.label}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def differences(saved: Any, own: dict[str, Any]) -> str:
    """A line for each entry of `own` that `saved` has with another value; groups are compared entry by entry."""
    saved = saved if isinstance(saved, dict) else {}
    rows = []
    for key in own:
        if isinstance(own[key], dict) and isinstance(saved.get(key), dict):
            pairs = {f"{key} {name}": (saved[key][name], own[key][name]) for name in own[key] if name in saved[key]}
        else:
            pairs = {key: (saved[key], own[key])} if key in saved else {}
        rows += [f"\n  {name}: saved {_short(old)}, now {_short(new)}" for name, (old, new) in pairs.items() if old != new]
    return "".join(rows)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
