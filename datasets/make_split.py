"""Making a split where no split file is present (DATASET.MAKE_SPLIT True).

Such a split is not the published one. It depends on the images alone, not on the run's seed.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase

from .images import list_images
from .splits import Row, checked_rows, read_lines

SPLIT_SEED = 1  # our choice


def class_folder_rows(image_folder: Path, names: Mapping[str, str]) -> list[Row]:
    """The images of class folders, sorted within each; `names` is folder -> class name in order of label."""
    return [
        Row(f"{folder}/{image}", label, name)
        for label, (folder, name) in enumerate(names.items())
        for image in list_images(image_folder / folder)
    ]


def divide(rows: Sequence[Row], *shares: float) -> list[list[Row]]:
    """Shuffles every class and cuts it into these shares and the rest; a class may get no second part."""
    rng = random.Random(SPLIT_SEED)
    parts: list[list[Row]] = [[] for _ in range(len(shares) + 1)]
    for items in DatasetBase.split_dataset_by_label(rows).values():
        sizes = [round(len(items) * share) for share in shares]
        sizes.append(len(items) - sum(sizes))
        if sizes[0] < 1 or sizes[-1] < 1:
            raise ValueError(f"Class {items[0].name!r} has {len(items)} images, too few to be split.")
        items = rng.sample(items, len(items))
        for part, size in zip(parts, sizes, strict=True):
            part += items[:size]
            items = items[size:]
    return parts


def read_listed(path: Path, parse: Callable[[str], Row]) -> list[Row]:
    """One row a line of a list, by `parse`; lines that begin with "#" are comments."""
    rows = []
    for line in read_lines(path):
        if line.startswith("#"):
            continue
        try:
            rows.append(parse(line))
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{path}: the line {line!r:.200} does not fit ({error!r:.100}).") from error
    return checked_rows(rows, str(path))


def read_mat(path: Path) -> dict[str, Any]:
    """The arrays of a MATLAB file, structures as dictionaries."""
    from scipy.io import loadmat  # only a split made here needs SciPy

    return loadmat(str(path), simplify_cells=True)
