"""Making a split where no split file is present (DATASET.MAKE_SPLIT True).

A split made here is not the published one, and accuracies on it are not comparable with published ones; a line at the
start of each run says so. It depends on the pictures alone: files are listed in sorted order and shuffled by a generator of
fixed seed, so that two people who make one from the same pictures get the same.
"""

import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .images import list_folders, list_pictures
from .splits import Row, Split, check_file, rows_by_label, shown, wrong_with_row

SPLIT_SEED = 1
"""Seed of the shuffling; our choice, and apart from the run's seed because a split outlives a run."""

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2
"""Shares of a class where a dataset has no test list of its own: the published readers' 50/20/30."""

HELD_OUT_SHARE = 0.2
"""Share of a class's training pictures that goes to val where a dataset has a test list: the published readers' choice."""


def class_folder_rows(image_folder: Path, names: Mapping[str, str], left_out: Collection[str]) -> list[Row]:
    """Rows of a folder of class folders: labels in sorted order of the folders, pictures in sorted order.

    Args:
        image_folder: the folder that holds one folder a class.
        names: folder -> class name, for those whose names differ.
        left_out: folders that are no class.
    """
    folders = [folder for folder in list_folders(image_folder) if folder not in left_out]
    return [
        Row(f"{folder}/{picture}", label, names.get(folder, folder))
        for label, folder in enumerate(folders)
        for picture in list_pictures(image_folder / folder)
    ]


def split_classes(rows: list[Row], owner: str, rng: random.Random) -> Split:
    """Split every class 50/20/30 into train, val and test.

    Raises ValueError where a class is too small to have a picture in each.
    """
    split = Split([], [], [])
    for items in rows_by_label(rows).values():
        n_train, n_val = round(len(items) * TRAIN_SHARE), round(len(items) * VAL_SHARE)
        if min(n_train, n_val, len(items) - n_train - n_val) < 1:
            raise ValueError(
                f"{owner}: DATASET.MAKE_SPLIT: class {items[0].name!r} has {len(items)} pictures; a split of 50/20/30 needs at "
                f"least 4. Add pictures, or write the split file by hand."
            )
        items = rng.sample(items, len(items))
        split.train += items[:n_train]
        split.val += items[n_train : n_train + n_val]
        split.test += items[n_train + n_val :]
    return split


def hold_out_val(rows: list[Row], owner: str, rng: random.Random) -> tuple[list[Row], list[Row]]:
    """Split the training rows of every class 80/20 into train and val.

    Raises ValueError where a class is too small to have a picture in each.
    """
    train: list[Row] = []
    val: list[Row] = []
    for items in rows_by_label(rows).values():
        n_val = round(len(items) * HELD_OUT_SHARE)
        if n_val < 1:
            raise ValueError(
                f"{owner}: DATASET.MAKE_SPLIT: class {items[0].name!r} has {len(items)} training pictures; holding out a fifth of "
                "them needs at least 3. Add pictures, or write the split file by hand."
            )
        items = rng.sample(items, len(items))
        val += items[:n_val]
        train += items[n_val:]
    return train, val


def read_listed(lines: list[str], parse: Callable[[str], Row], where: str) -> list[Row]:
    """One row a line of a list, by `parse`; `where` (dataset and file) opens the ValueError for a line that does not fit."""
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = parse(line)
        except (KeyError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {shown(str(error))[1:-1]}"
            raise ValueError(f"{where}: entry {number} does not fit, {shown(line)} ({reason}). Fetch the file again.") from error
        rows.append(row)
    return checked_rows(rows, where)


def checked_rows(rows: list[Row], where: str) -> list[Row]:
    """`rows`, made of what a list or annotation says; `where` (dataset and file) opens the ValueError for one that no split may hold."""
    for number, row in enumerate(rows, 1):
        wrong = wrong_with_row(row)
        if wrong:
            raise ValueError(f"{where}: entry {number} does not fit, {wrong}; received {shown(tuple(row))}. Fetch the file again.")
    return rows


def read_mat(path: Path, owner: str) -> dict[str, Any]:
    """The arrays of a MATLAB file, structures as dictionaries.

    Raises FileNotFoundError or ValueError for the file, ModuleNotFoundError (naming the cure) where SciPy is not installed.
    """
    check_file(path, owner)
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{owner}: DATASET.MAKE_SPLIT reads {path}, a MATLAB file, with SciPy, which is not installed: run `pip install scipy`."
        ) from error
    try:
        return loadmat(str(path), simplify_cells=True)
    except Exception as error:  # a damaged file makes SciPy's readers raise nearly anything
        raise ValueError(f"{owner}: {path} is not a MATLAB file that SciPy reads ({error}): fetch it again.") from error
