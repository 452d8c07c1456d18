"""A split of one's own pictures where neither folders nor a list state one: drawn once, kept, and the same for all methods and seeds."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from .folder_layout import Picture
from .make_split import SPLIT_SEED
from .images import MEMORY_NAME, check_readable
from .splits import PARTS, Row, Split, read_split_file, write_json_whole

TEST_SHARE, VAL_SHARE = 0.3, 0.2
"""Shares of a class: the published readers' 50/20/30, in which test comes first here, so that a class of two has a picture to test."""

MADE_BY = f"DATASET.NAME Folder: drawn with seed {SPLIT_SEED}; test 30%, val 20%, train the rest of each class"


def draw_split(pictures: Sequence[Picture], owner: str) -> list[Picture]:
    """The pictures with a part each, drawn class by class with the fixed seed `SPLIT_SEED`, apart from the run's.

    Of n pictures of a class, round(0.3 n) go to test, then round(0.2 n) to val as far as one is left to train on, the rest to train:
    10 give 5, 2 and 3; 2 give 1, 0 and 1.

    Raises:
        ValueError: a class has a single picture.
    """
    by_class: dict[str, list[Picture]] = {}
    for picture in sorted(pictures):
        by_class.setdefault(picture.class_name, []).append(picture)
    single = [name for name, items in by_class.items() if len(items) < 2]
    if single:
        raise ValueError(
            f"{owner}: {len(single)} classes have one picture only: {', '.join(map(repr, single[:5]))}. A class needs two or more, one to train "
            "on and one to test on.\n  next step: add pictures, take these classes away, or state the split by folders or in a list."
        )
    rng = random.Random(SPLIT_SEED)
    drawn = []
    for name in sorted(by_class):
        items = rng.sample(by_class[name], len(by_class[name]))
        n_test = round(len(items) * TEST_SHARE)  # at least 1, since a class has two or more
        n_val = min(round(len(items) * VAL_SHARE), len(items) - n_test - 1)
        for i, picture in enumerate(items):
            drawn.append(picture._replace(part="test" if i < n_test else "val" if i < n_test + n_val else "train"))
    return drawn


class KeptSplit:
    """Where the split of a folder is kept: beside its pictures, or, where that folder cannot be written, below DATASET.ROOT.

    Args:
        folder: of the pictures.
        root: DATASET.ROOT.
        list_name: name of the list that the pictures come from; empty for class folders. Each list has a split of its own.
        owner: opens every message.
    """

    def __init__(self, folder: Path, root: Path, list_name: str, owner: str) -> None:
        name = f"split_own-{list_name}.json" if list_name else "split_own.json"
        key = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.folder = folder
        self.paths = [folder / name, root / "own_splits" / f"{folder.name}-{key}" / name]
        self.owner = owner

    def apply(self, pictures: Sequence[Picture]) -> tuple[list[Picture], str, list[str]]:
        """The pictures with a part each, by the kept split or by one drawn and kept now; where it stands; lines to tell.

        Raises:
            ValueError: the kept split names pictures that are no longer there or in another class; a class has a single picture; a picture cannot be
                decoded, and no split was kept yet.
        """
        for path in self.paths:
            if path.exists():
                taken, notes = self._read(path, pictures)
                return taken, str(path), notes
        drawn = draw_split(pictures, self.owner)
        self._check_whole(drawn)
        place, note = self._keep(drawn)
        return drawn, place, [note]

    def _read(self, path: Path, pictures: Sequence[Picture]) -> tuple[list[Picture], list[str]]:
        split = read_split_file(path, self.owner)
        kept = [Picture(row.path, row.name, part) for part in PARTS for row in getattr(split, part)]
        present = {picture.path: picture.class_name for picture in pictures}
        gone = [picture.path for picture in kept if present.get(picture.path) != picture.class_name]
        anew = f"to draw a new split, delete {path}; results on it are not comparable with those before"
        if gone:
            raise ValueError(
                f"{self.owner}: {len(gone):,} pictures of the split {path} are no longer there or have another class: {', '.join(gone[:5])}.\n"
                f"  next step: put them back; or, {anew}."
            )
        n_added = len(present) - len({picture.path for picture in kept})
        return kept, [f"{n_added:,} pictures came after the split was drawn and are left out; {anew}"] if n_added else []

    def _check_whole(self, drawn: Sequence[Picture]) -> None:
        """Refuse damaged pictures, of any part, before a split that names them is kept: taken away later, they would be missing in it."""
        split = to_split(drawn, labels_of(drawn), {}, f"{self.owner}: {self.folder}")
        check_readable(split, self.folder, self.folder / MEMORY_NAME)

    def _keep(self, drawn: Sequence[Picture]) -> tuple[str, str]:
        """Write the split to the first place that takes it; where it stands, and a line that says so."""
        data = {"made_by": MADE_BY, **to_parts(drawn, labels_of(drawn), {})}
        for path in self.paths:
            try:
                write_json_whole(path, data)
            except OSError:
                continue
            return str(path), f"no split is stated, so one was drawn (seed {SPLIT_SEED}, 50/20/30 a class) and kept as {path}"
        note = (
            f"no split is stated, so one was drawn (seed {SPLIT_SEED}, 50/20/30 a class), but neither {self.paths[0]} nor {self.paths[1]} can be "
            "written: it stays the same only as long as the pictures do"
        )
        return "", note


def labels_of(pictures: Sequence[Picture]) -> dict[str, int]:
    """Class -> label, in sorted order of the classes."""
    return {name: label for label, name in enumerate(sorted({picture.class_name for picture in pictures}))}


def to_parts(pictures: Sequence[Picture], labels: Mapping[str, int], names: Mapping[str, str]) -> dict[str, list[Row]]:
    """Rows of train, val and test; `names` says what a class is called where that differs from its folder or entry."""
    parts: dict[str, list[Row]] = {part: [] for part in PARTS}
    for picture in pictures:
        parts[picture.part].append(Row(picture.path, labels[picture.class_name], names.get(picture.class_name, picture.class_name)))
    return parts


def to_split(pictures: Sequence[Picture], labels: Mapping[str, int], names: Mapping[str, str], origin: str) -> Split:
    """`to_parts` as a `Split`; `origin` names the folder or list, for messages."""
    parts = to_parts(pictures, labels, names)
    return Split(parts["train"], parts["val"], parts["test"], origin=origin)
