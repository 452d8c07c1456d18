"""What every dataset reader does; a dataset's own file holds only its facts.

From the folder to the pictures a run uses, in this order: the split is read and checked; K pictures a class are drawn over
all classes; the base or new half is taken and relabelled; the pictures left are opened once. All of it ends before training.
"""

import os
import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase, Datum

from .base_new import check_subsample, select_classes
from .fewshot import sample_split
from .make_split import SPLIT_SEED, class_folder_rows, split_classes
from .missing import check_folders, missing_list
from .images import MEMORY_NAME, check_present, check_readable
from .splits import PARTS, Row, Split, read_split_file, write_json_whole


def extend_cfg(cfg: Any) -> None:
    """Declare the settings that every reader knows."""
    # Which classes a run sees: "all", or one half of the labels in order: "base" (the first ceil(n/2)) or "new" (the rest).
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    # Where a dataset's split file is absent, make a split from the pictures and keep it. Such a split is not the published one.
    cfg.DATASET.MAKE_SPLIT = False


class ImageDataset(DatasetBase):
    """A folder of pictures with a split: the base of all readers.

    A reader sets the class attributes below and is registered in `DATASET_REGISTRY`. One whose split is no JSON file
    overrides `read_split` and `list_paths`; one that makes its own pictures overrides `prepare`; one whose own split is not
    "class folders, 50/20/30" overrides `make_split`.

    Args:
        cfg: the run's config. Read are DATASET.ROOT, NUM_SHOTS, SUBSAMPLE_CLASSES and MAKE_SPLIT, and SEED.

    Raises:
        FileNotFoundError: if folders, lists or pictures are missing.
        ValueError: if a setting, a list or a picture is not usable.
    """

    dataset_dir = ""
    """The dataset's folder, relative to DATASET.ROOT."""
    image_dir = ""
    """The image folder, relative to the dataset's; empty where that is the folder itself."""
    split_file = ""
    """The split file's name in the dataset's folder; empty where the split comes from other files."""
    source = ""
    """The page that the pictures come from."""
    split_source = ""
    """The page or file that the published split comes from; empty where the pictures' archive has it."""
    can_make_split = True
    """Whether DATASET.MAKE_SPLIT can serve where the split file is absent."""
    test_only = False
    """Whether the dataset is for testing alone: K and base/new do not apply, and train holds the test pictures."""
    samples_val = True
    """Whether val is reduced to min(K, 4) pictures a class; not where val is also the test set."""
    is_listed = False
    """Whether the rows come from listing the folders, so that no picture of theirs can be missing."""
    folder_names: Mapping[str, str] = {}
    """For a split made here: class folder -> class name, where they differ."""
    folders_left_out: Collection[str] = ()
    """For a split made here: folders that are no class."""

    def __init__(self, cfg: Any) -> None:
        subsample = check_subsample(cfg.DATASET.SUBSAMPLE_CLASSES)
        self._place(cfg.DATASET.ROOT)
        self.prepare()
        check_folders(self)
        # .get: a config of another code base that hosts these readers may not declare MAKE_SPLIT.
        split = self.load_split(bool(cfg.DATASET.get("MAKE_SPLIT", False)))
        if self.test_only:
            print(f"{type(self).__name__} is for testing alone (--eval-only): K and base/new do not apply, train holds its test pictures.")
        else:
            split = sample_split(split, cfg.DATASET.NUM_SHOTS, cfg.SEED, self.folder / "split_fewshot", self.samples_val)
            split = select_classes(split, subsample)
        # The train of a test-only dataset is its test pictures.
        parts = ("test",) if self.test_only else PARTS
        check_readable(split, self.image_folder, self.folder / MEMORY_NAME, parts)
        super().__init__(train_x=self.to_datums(split.train), val=self.to_datums(split.val), test=self.to_datums(split.test))

    @classmethod
    def at(cls, root: str | Path) -> "ImageDataset":
        """The reader of the dataset under the data folder `root`, before anything is looked for or read.

        For what examines a folder rather than trains on it: `root`, `folder`, `image_folder`, `list_paths` and `read_split` serve.
        """
        reader = cls.__new__(cls)
        reader._place(root)
        return reader

    def _place(self, root: str | Path) -> None:
        """Say where the dataset's folders are; `root` is the data folder, "~" the home folder."""
        self.root = Path(os.path.abspath(os.path.expanduser(root)))
        self.folder = self.root / self.dataset_dir
        self.image_folder = self.folder / self.image_dir

    def prepare(self) -> None:
        """Called before anything is looked for: the place for a dataset that writes its own pictures on first use."""

    def list_paths(self) -> list[Path]:
        """The files beside the pictures that the reader needs."""
        return [self.folder / self.split_file] if self.split_file else []

    def load_split(self, makes_split: bool) -> Split:
        """The split over all classes, checked: its rows, its classes, and that its pictures are there.

        Args:
            makes_split: whether a split may be made where the split file is absent.
        """
        absent = [path for path in self.list_paths() if not path.exists()]
        if absent and not (makes_split and self.can_make_split):
            raise missing_list(self, absent[0])
        split = self._make_and_keep_split() if absent else self.read_split()
        if split.is_own:
            print(f"{split.origin} was made with DATASET.MAKE_SPLIT: accuracies on it are not comparable with published ones.")
        split.check_classes()
        if not self.is_listed:
            check_present(split, self.image_folder, self.source)
        return split

    def read_split(self) -> Split:
        """The split as the dataset's files state it; here, from its JSON split file."""
        return read_split_file(self.folder / self.split_file, type(self).__name__)

    def make_split(self, rng: random.Random) -> Split:
        """A split of one's own, for DATASET.MAKE_SPLIT; here, from class folders, 50/20/30 a class.

        Args:
            rng: the generator to shuffle with.
        """
        rows = class_folder_rows(self.image_folder, self.folder_names, self.folders_left_out)
        return split_classes(rows, type(self).__name__, rng)

    def _make_and_keep_split(self) -> Split:
        """Make a split and write it where the published one would stand, marked as one's own."""
        path = self.folder / self.split_file
        split = self.make_split(random.Random(SPLIT_SEED))
        split.origin, split.is_own = f"{type(self).__name__}: {path}", True
        split.check_classes()
        parts = {part: getattr(split, part) for part in PARTS}
        try:
            write_json_whole(path, {"made_by": "DATASET.MAKE_SPLIT; not the published split", **parts})
        except OSError as error:
            print(f"The split could not be kept as {path} ({error}); the next run has to make it again, and gets the same.")
        return split

    def to_datums(self, rows: list[Row]) -> list[Datum]:
        """Rows as the engine takes them, with the full path of each picture."""
        folder = str(self.image_folder)
        return [Datum(impath=os.path.join(folder, row.path), label=row.label, classname=row.name) for row in rows]
