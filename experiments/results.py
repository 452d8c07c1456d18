"""Reads the `result.json` of finished runs into one DataFrame that says where each run stands in which table.

A row is a run, with the columns of `read_row`. A column with a dot in its name, such as `OPTIM.LR`, is a
setting that can change a result. `protocol`, `shots`, `source` and `own` say which table the run stands in,
`metric` which column, and `label` which row.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dassl.record import NOT_COMPARED, read_result

from .facts import ELEVEN, IMAGENET_VARIANTS, dataset_name

Row = dict[str, Any]

HALVES = ["base", "new"]
IMAGENET = dataset_name(ELEVEN[0])
VARIANTS = [dataset_name(name) for name in IMAGENET_VARIANTS]
TABLE = ["protocol", "shots", "source", "own"]  # runs that agree in these stand in one table
FACTS = ("accuracy", "macro_f1", "majority", "train_seconds", "backbone", "device", "computed_in", "ended")
TYPES = {
    "accuracy": float, "macro_f1": float, "majority": float, "train_seconds": float,
    "own": bool, "trained": bool, "learned": bool,
}  # fmt: skip
NOT_SETTINGS = (  # also what names a cell of a table, and what a test prints
    *NOT_COMPARED, "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "DATASET.FOLDER_PATH",
    "TEST.PER_CLASS_RESULT", "TEST.COMPUTE_CMAT", "TEST.NO_TEST", "TEST.SPLIT",
)  # fmt: skip


def read_runs(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Every finished and tested run below `folders`, and a line for each run that is left out.

    The folder `grid`, with the runs of `--grid`, counts only if it is one of `folders`. Runs that `--force`
    moved aside never count.

    Raises:
        FileNotFoundError: a folder is missing, or no run can be used.
    """
    rows: dict[str, Row] = {}
    notes = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give folders of runs, such as output/base2new")
        for parent, names, files in os.walk(folder.resolve()):
            if "grid" in names:
                notes.append(f"left out: runs of a grid in {parent}/grid; give that folder to see them")
            names[:] = sorted(name for name in names if name != "grid" and ".old-" not in name)
            if "result.json" not in files:
                continue
            record = read_result(parent)
            if not record.get("finished"):
                notes.append(f"left out: {parent} is not finished")
            elif record.get("accuracy") is None or record.get("split") not in (None, "test"):
                notes.append(f"left out: {parent} was not tested on the test images")
            else:
                rows[parent] = read_row(parent, record)
    placed = place_rows(list(rows.values()), notes)
    if not placed:
        head = f"there is no result.json of a finished run below {', '.join(map(str, folders))}"
        raise FileNotFoundError("\n".join([head, *notes]))
    # dtype=object: a setting that some runs lack must not turn from 2 into 2.0
    runs = pd.DataFrame(placed, dtype=object).astype(TYPES).copy()
    groups = [label_runs(group, notes) for _, group in runs.groupby([*TABLE, "method"], sort=False)]
    return pd.concat(groups), notes


def read_row(folder: str, record: Mapping[str, Any]) -> Row:
    """What the tables need of a record.

    `trained_in` is the folder of the training that a test loaded, `trained` whether this run trained,
    `learned` whether anything was, and `own` whether the images are the user's own. `output_dir` is where the
    run was written to; its folder may have been moved since.
    """
    config = record.get("config") or {}
    trained_in = (record.get("tested") or {}).get("folder")
    for checkpoint in (record.get("loaded_from") or {}).values():  # <folder>/<model>/model.pth.tar-<epoch>
        trained_in = trained_in or str(Path(checkpoint).parent.parent)
    row: Row = {key: record.get(key) for key in FACTS} | {
        "folder": folder,
        "output_dir": str(config.get("OUTPUT_DIR")),
        "method": record["trainer"],
        "dataset": record["dataset"],
        "classes": record.get("subsample") or "all",
        "shots": int(record.get("shots") or 0),
        "seed": int(record["seed"]),
        "is_source": record.get("part") == "source",
        "torch": (record.get("versions") or {}).get("torch"),
        "commit": f"{str(record.get('commit'))[:12]}{' (modified)' if record.get('modified') else ''}",
        "own": record.get("data") is not None,
        "trained_in": trained_in,
        "trained": record.get("train_seconds") is not None,
        "learned": record.get("train_seconds") is not None or trained_in is not None,
    }
    settings = {**config, "data": record.get("data") or {}}
    for key, value in pd.json_normalize(settings).to_dict("records")[0].items():
        if "." in key and key not in NOT_SETTINGS:
            row[key] = value if isinstance(value, (int, float, str)) else str(value)
    if "data.split_sha256" in row:
        row["data.split_sha256"] = row["data.split_sha256"][:12]  # enough to tell two apart
    # Each seed may have a file of its own.
    row["MODEL.INIT_WEIGHTS"] = "given" if (config.get("MODEL") or {}).get("INIT_WEIGHTS") else ""
    return row


def place_rows(rows: Sequence[Row], notes: list[str]) -> list[Row]:
    """The rows with `protocol`, `source`, `shots` and `metric`; appends to `notes` which have no place.

    A training that another row tests on another dataset is the source of that table. A zero-shot run joins
    every table that has its dataset, so that it can stand in several.
    """
    trainings = {row[key]: row for row in rows if row["trained"] for key in ("output_dir", "folder")}
    placed, sources = [], set()
    for row in rows:
        if row["learned"] and row["classes"] in HALVES:
            placed.append(row | {"protocol": "base2new", "source": "", "metric": row["classes"]})
        elif row["trained_in"] and not row["trained"]:
            training = find_training(row, trainings)
            if training is None:
                notes.append(f"left out: {row['folder']} tests {row['trained_in']}; give that folder too")
            elif training["dataset"] == row["dataset"]:
                notes.append(f"left out: {row['folder']} tests a training again on its own dataset")
            else:
                is_variant = training["dataset"] == IMAGENET and row["dataset"] in VARIANTS
                place = {"protocol": "dg" if is_variant else "xd", "source": training["dataset"]}
                placed.append(row | place | {"shots": training["shots"], "metric": "accuracy"})
                sources.add(training["folder"])
    transfers = {(row["protocol"], row["source"], row["shots"]) for row in placed}
    for row in rows:
        if not row["trained"] or row["classes"] in HALVES:
            continue
        if row["folder"] in sources or row["is_source"]:
            tested = [name for name in ("xd", "dg") if (name, row["dataset"], row["shots"]) in transfers]
            for protocol in tested or ["xd"]:
                placed.append(row | {"protocol": protocol, "source": row["dataset"], "metric": "accuracy"})
        else:
            place = {"protocol": "fewshot", "source": "", "shots": 0, "metric": str(row["shots"])}
            placed.append(row | place)
    taken = dict.fromkeys((tuple(row[key] for key in TABLE), row["dataset"]) for row in placed)
    for row in rows:
        if row["learned"]:
            continue
        is_half = row["classes"] in HALVES
        alone = "base2new" if is_half else "dg" if row["dataset"] in VARIANTS else "xd"
        tables = [table for table, dataset in taken if dataset == row["dataset"]]
        joined = [table for table in tables if (table[0] == "base2new") == is_half]
        for table in joined or [(alone, 0, "" if is_half else IMAGENET, row["own"])]:
            metric = row["classes"] if is_half else "0" if table[0] == "fewshot" else "accuracy"
            placed.append(row | dict(zip(TABLE, table, strict=True)) | {"metric": metric})
    return placed


def find_training(row: Row, trainings: Mapping[str, Row]) -> Row | None:
    """The training that a run tested; None if nothing says its dataset."""
    folder = row["trained_in"]
    if folder in trainings:
        return trainings[folder]
    if record := read_result(folder):
        return read_row(folder, record)
    is_imagenet = IMAGENET.lower() in Path(folder).parts  # such as a published checkpoint
    return {"dataset": IMAGENET, "shots": 0, "folder": folder} if is_imagenet else None


def label_runs(runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The runs of one method in one table with `label`: the method, and the settings in which rivals differ.

    Rivals are runs for the same cell, of any seed, so that a mean is over runs of the same settings. Which
    images they had is named where no setting tells it. Of rivals that agree in everything and the seed the
    newest stays. `telling` holds the settings of the label.
    """
    keys = [key for key in runs.columns if "." in key]
    telling: list[str] = []
    runs = runs.assign(label=runs.method)
    settings = [key for key in keys if not key.startswith("data.")]
    for among in (settings, [key for key in keys if key != "data.split_sha256"], keys):
        n_values = runs.groupby(["label", "dataset", "metric"])[among].nunique().max()
        telling += sorted(set(n_values.index[n_values > 1]) - set(telling))
        texts = [short_key(key, telling) + " " + runs[key].map(short_values(runs[key])) for key in telling]
        if texts:
            points = pd.concat(texts, axis=1).agg(", ".join, axis=1)
            runs["label"] = runs.method + " (" + points + ")"
    runs["telling"] = [telling] * len(runs)
    newest = runs.sort_values("ended").drop_duplicates(["label", "dataset", "metric", "seed"], keep="last")
    older = sorted(set(runs.folder) - set(newest.folder))
    notes += [f"left out: {folder}: a newer run has the same settings" for folder in older]
    return newest


def short_key(key: str, among: Sequence[str]) -> str:
    """The last part of a dotted key, or the whole key if that would be ambiguous."""
    last = key.rsplit(".", 1)[-1]
    is_ambiguous = last == "NAME" or sum(other.rsplit(".", 1)[-1] == last for other in among) > 1
    return key if is_ambiguous else last


def short_values(values: pd.Series) -> dict[Any, str]:
    """Each value as a label shows it: a path by its name, or by the part that differs; nothing as `none`."""
    texts = {value: str(value) or "none" for value in values.unique()}
    paths = [text for text in texts.values() if os.path.isabs(text)]
    start = os.path.commonpath(paths) if paths else ""
    by_name = len(set(map(os.path.basename, texts.values()))) == len(texts)
    for value, text in texts.items():
        if text in paths:
            texts[value] = os.path.basename(text) if by_name else os.path.relpath(text, start)
    return texts
