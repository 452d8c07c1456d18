"""Writes folders of runs as train.py leaves them, with accuracies that a test knows; runs verbs on them."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.__main__ import main as experiments
from experiments.aggregate import Table, make_tables
from experiments.results import read_runs


def write_run(folder: Path, method: str, dataset: str, accuracy: float | None, **given: Any) -> Path:
    """A finished run; `given` overrides fields of result.json, `settings` and `optim` parts of its config."""
    config = {
        "OUTPUT_DIR": str(folder),
        "MODEL": {"INIT_WEIGHTS": ""},
        "OPTIM": {"MAX_EPOCH": 5, "LR": 0.002} | given.pop("optim", {}),
        "DATASET": {"FOLDER_CLASS_NAMES": given.pop("class_names", "")},
        "DATALOADER": {"NUM_WORKERS": len(str(folder)) % 7},
        "TRAINER": {method.upper(): {"PREC": "fp16"} | given.pop("settings", {})},
    }
    record = {
        "finished": True, "trainer": method, "backbone": "ViT-B/16", "dataset": dataset, "subsample": "all",
        "shots": 16, "seed": 1, "part": "", "split": "test", "accuracy": accuracy, "macro_f1": accuracy,
        "majority": None, "data": None, "train_seconds": None, "tested": None,
        "device": "Tesla T4", "commit": "0123abcd", "modified": False, "computed_in": "fp16",
        "versions": {"torch": "2.6.0"}, "config": config,
        "n_train_x": 160, "n_classes": 10, "ended": "2026-01-01T01:00:00+00:00",
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(record | given))
    return folder


def training_of(training: Path, dataset: str, shots: int = 16) -> dict[str, Any]:
    """What the record of a test says of its training."""
    return {"folder": str(training), "dataset": dataset, "shots": shots}


def write_base2new(
    root: Path, method: str, dataset: str, seed: int, base: float | None, new: float | None, **given: Any
) -> None:
    """Both runs of a seed, or one of them where an accuracy is None; zero-shot runs train nothing."""
    point = "".join(f"{k}{v}" for k, v in (given.get("settings", {}) | given.get("optim", {})).items())
    train, test = (root / half / dataset / f"{method}{point}" / f"seed{seed}" for half in ("base", "new"))
    is_trained = method != "ZeroshotCLIP"
    given = {"seed": seed, "shots": 16 if is_trained else -1} | given
    seconds = given.pop("train_seconds", 60.0 * seed) if is_trained else None
    if base is not None:
        write_run(train, method, dataset, base, subsample="base", train_seconds=seconds, **given)
    if new is not None:
        tested = training_of(train, dataset, given["shots"]) if is_trained else None
        write_run(test, method, dataset, new, subsample="new", tested=tested, **given)


def write_few_shot(root: Path, *shots: int) -> None:
    """Two seeds of each number of images a class, and a run that trains nothing."""
    for k, seed in product(shots, (1, 2)):
        given = {"shots": k, "seed": seed, "train_seconds": 9.0}
        write_run(root / f"k{k}/s{seed}", "MPL", "EuroSAT", 50.0 + k + seed, **given)
    write_run(root / "z", "ZeroshotCLIP", "EuroSAT", 47.84, shots=-1)


def write_grid(root: Path, *points: tuple[int, int]) -> None:
    """Both runs of each point of MPL's N_ADD_OP and N_RM_OP; base is 50 more than that, new 60 than this."""
    for n_add, n_remove in points:
        point = {"N_ADD_OP": n_add, "N_RM_OP": n_remove}
        write_base2new(root, "MPL", "EuroSAT", 1, 50.0 + n_add, 60.0 + n_remove, settings=point)


def main(*words: object) -> int:
    """The exit status of `python -m experiments` with these words, in this process."""
    return experiments([str(word) for word in words])


def tables_of(root: Path, **asked: Any) -> list[Table]:
    return make_tables(read_runs([root])[0], **asked)


def cell(table: Table, dataset: str, label: str, metric: str) -> pd.Series:
    return table.cells.loc[dataset, label, metric]
