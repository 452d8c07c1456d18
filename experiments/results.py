"""Reads the `result.json` of finished runs into one DataFrame, and says where in which table each run stands.

`read_runs` gives a row a run, with the columns of `read_row`. A column with a dot in its name is a setting that can
change a result, such as `OPTIM.LR`. `place_runs` adds `protocol` and `source` (which table), `metric` (which column) and
`label` (which row).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .facts import ELEVEN, IMAGENET_VARIANTS, dataset_name

HALVES = ["base", "new"]
IMAGENET = dataset_name(ELEVEN[0])
VARIANTS = [dataset_name(name) for name in IMAGENET_VARIANTS]
TABLE = ["protocol", "shots", "source", "own"]  # runs that agree in these stand in one table
NUMBERS = ["accuracy", "macro_f1", "train_seconds", "test_seconds"]
FLAGS = ["own", "trained", "learned"]
NOT_SETTINGS = (
    "DATASET.ROOT", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "DATASET.FOLDER_PATH",
    "DATALOADER.NUM_WORKERS", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "TEST.PER_CLASS_RESULT", "TEST.COMPUTE_CMAT",
    "TEST.NO_TEST", "TEST.SPLIT", "MODEL.INIT_WEIGHTS",
)  # fmt: skip


def read_runs(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Every finished and tested run below `folders`, and a line for each that is left out.

    The folder `grid` (runs of `reproduce --grid`) counts only if it is one of `folders`; runs that `--force` moved aside
    never count.

    Raises:
        FileNotFoundError: a folder is missing, or none holds a result.
    """
    paths: dict[Path, None] = {}
    notes = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the folders of your runs, such as output/base2new")
        for parent, names, files in os.walk(folder):
            if "grid" in names:
                notes.append(f"left out: {Path(parent, 'grid')} holds runs of a grid; give that folder to see them")
            names[:] = sorted(name for name in names if name != "grid" and ".old-" not in name)
            if "result.json" in files:
                paths[Path(parent, "result.json").resolve()] = None
    rows = []
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not record.get("finished"):
            notes.append(f"left out: {path.parent} is not finished")
        elif record.get("accuracy") is None or record.get("split") not in (None, "test"):
            notes.append(f"left out: {path.parent} was not tested on the test images")
        else:
            rows.append(read_row(path.parent, record))
    if not rows:
        where = ", ".join(map(str, folders))
        raise FileNotFoundError("\n".join([f"there is no result.json of a finished run below {where}", *notes]))
    runs = pd.DataFrame(rows, dtype=object)  # object: a count that some runs lack must not turn into 2.0
    runs[NUMBERS] = runs[NUMBERS].astype(float)
    return runs, notes


def read_row(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one run."""
    method, config = record["trainer"], record.get("config") or {}
    loaded = [Path(path) for path in (record.get("loaded_from") or {}).values()]  # <folder>/<model>/model.pth.tar-<epoch>
    trained_in = (record.get("tested") or {}).get("folder") or (str(loaded[0].parent.parent) if loaded else None)
    is_trained = record.get("train_seconds") is not None
    commit = str(record.get("commit"))[:12] + (" (modified)" if record.get("modified") else "")
    row = {
        "folder": str(folder),
        "output_dir": str(config.get("OUTPUT_DIR")),  # where it was written to; the folder may have moved since
        "method": method,
        "dataset": record["dataset"],
        "classes": record.get("subsample") or "all",
        "part": record.get("part"),
        "shots": int(record.get("shots") or 0),
        "seed": int(record["seed"]),
        **{name: record.get(name) for name in NUMBERS},
        **{name: record.get(name) for name in ("backbone", "device", "computed_in", "ended")},
        "torch": (record.get("versions") or {}).get("torch"),
        "commit": commit,
        "own": record.get("data") is not None,
        "trained_in": trained_in,
        "trained": is_trained,
        "learned": is_trained or trained_in is not None,
    }
    own_node = f"TRAINER.{record.get('settings_node') or method.upper()}."
    for key, value in [*flatten(config), *flatten(record.get("data") or {}, "data.")]:
        if "." in key and key not in NOT_SETTINGS and (not key.startswith("TRAINER.") or key.startswith(own_node)):
            row[key] = value if isinstance(value, (int, float, str)) else str(value)
    return row


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys and values of a nested dictionary."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def place_runs(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs with `protocol`, `source`, `metric` and `label`, and a line for each run that no table shows.

    A training that is tested on another dataset is the source of that table. Zero-shot runs join every table that has
    their dataset, so that a run can stand in several rows.
    """
    rows, notes = runs.to_dict("records"), []
    trainings = {run[key]: run for run in rows if run["trained"] for key in ("output_dir", "folder")}
    placed, untrained, on_all_classes, tested = [], [], [], set()
    for run in rows:
        if run["classes"] in HALVES:
            run |= {"protocol": "base2new", "source": "", "metric": run["classes"]}
            (placed if run["learned"] else untrained).append(run)
        elif not run["learned"]:
            untrained.append(run)
        elif run["trained"]:
            on_all_classes.append(run)
        elif (training := find_training(run, trainings)) is None:
            notes.append(f"left out: {run['folder']} tests {run['trained_in']}, which is not there; give its folder too")
        elif training["dataset"] == run["dataset"]:
            notes.append(f"left out: {run['folder']} tests a training again on its own dataset")
        else:
            is_variant = training["dataset"] == IMAGENET and run["dataset"] in VARIANTS
            run |= {"protocol": "dg" if is_variant else "xd", "source": training["dataset"], "metric": "accuracy"}
            placed.append(run | {"shots": max(training["shots"], 0)})
            tested.add(training["folder"])
    tables = {(run["protocol"], run["source"], run["shots"]) for run in placed if run["metric"] == "accuracy"}
    for run in on_all_classes:
        if run["folder"] in tested or run["part"] == "source" or "crossdataset" in Path(run["output_dir"]).parts:
            protocols = [name for name, *rest in sorted(tables) if rest == [run["dataset"], run["shots"]]] or ["xd"]
            source = {"source": run["dataset"], "metric": "accuracy"}
            placed += [run | source | {"protocol": protocol} for protocol in protocols]
        else:
            placed.append(run | {"protocol": "fewshot", "source": "", "metric": str(run["shots"]), "shots": 0})
    placed = join_untrained(placed, untrained)
    result = pd.concat([label_runs(group, notes) for _, group in placed.groupby([*TABLE, "method"], sort=False)])
    return result, notes


def find_training(run: Mapping[str, Any], trainings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The training that `run` tested; None if nothing says its dataset."""
    folder = run["trained_in"]
    if folder in trainings:
        return trainings[folder]
    path = Path(folder, "result.json")
    if path.is_file():
        return read_row(path.parent, json.loads(path.read_text(encoding="utf-8")))
    is_imagenet = IMAGENET.lower() in Path(folder).parts  # such as a published checkpoint
    return {"dataset": IMAGENET, "shots": run["shots"], "folder": folder} if is_imagenet else None


def join_untrained(placed: Sequence[Mapping[str, Any]], untrained: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """All rows: each zero-shot run once in every table that has its dataset, else in a table of zero-shot runs."""
    tables: dict[tuple[Any, ...], set[str]] = {}
    for run in placed:
        tables.setdefault(tuple(run[key] for key in TABLE), set()).add(run["dataset"])
    rows = list(placed)
    for run in untrained:
        is_half = run["classes"] in HALVES
        keys = [key for key, names in tables.items() if run["dataset"] in names and (key[0] == "base2new") == is_half]
        if not keys:
            protocol = "base2new" if is_half else "dg" if run["dataset"] in VARIANTS else "xd"
            keys = [(protocol, 0, "" if is_half else IMAGENET, run["own"])]
        for key in keys:
            metric = run["classes"] if is_half else "0" if key[0] == "fewshot" else "accuracy"
            rows.append(run | dict(zip(TABLE, key, strict=True)) | {"metric": metric})
    return pd.DataFrame(rows, dtype=object).astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(FLAGS, bool)).copy()


def label_runs(runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The runs of one method in one table with `label`: the method, and the settings in which rivals differ (`telling`).

    Rivals are runs for the same cell and seed. Of rivals that agree in all settings the newest stays.
    """
    settings = [key for key in runs.columns if "." in key]
    n_values = runs.groupby(["dataset", "metric", "seed"])[settings].nunique().max()
    telling = sorted(key for key in settings if n_values[key] > 1)
    names = [short_key(key, telling) for key in telling]
    values = runs[telling].to_numpy().tolist()
    points = [", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in values]
    labels = [f"{runs.method.iloc[0]} ({point})" if point else runs.method.iloc[0] for point in points]
    runs = runs.assign(label=labels, telling=[telling] * len(runs))
    newest = runs.sort_values("ended").drop_duplicates(["label", "dataset", "metric", "seed"], keep="last")
    for folder in sorted(set(runs.folder) - set(newest.folder)):
        notes.append(f"left out: {folder}: a newer run has the same settings")
    return newest


def short_key(key: str, among: Sequence[str]) -> str:
    """The last part of a dotted key, or the whole key if that would be ambiguous."""
    last = key.rsplit(".", 1)[-1]
    is_ambiguous = last == "NAME" or sum(other.rsplit(".", 1)[-1] == last for other in among) > 1
    return key if is_ambiguous else last
