"""Own images: class folders, alone or inside train, val and test folders, or a list (docs/OWN_IMAGES.md)."""

import hashlib
import os
import random
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from clip.tokenizer import same_tokens
from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils import write_json

from .base import ImageDataset
from .folder_layout import OwnImage, read_class_folders
from .folder_lists import read_list
from .images import list_folders, unreadable
from .make_split import SPLIT_SEED
from .splits import PARTS, Row, Split, checked_rows, read_json, read_split_file


def extend_cfg(cfg: Any) -> None:
    """Declares the settings of DATASET.NAME Folder; paths may begin with ~."""
    # The folder of the images: relative to DATASET.ROOT ($DATA in the scripts), or absolute. Required.
    cfg.DATASET.FOLDER_PATH = ""
    # A list of path, class and (optional) split, relative to the folder, or absolute. Empty: class folders.
    cfg.DATASET.FOLDER_LIST = ""
    # A .json file {class folder: class name}, relative to the folder, or absolute. Empty: the folders' names.
    cfg.DATASET.FOLDER_CLASS_NAMES = ""
    # Whether links that lead out of the folder are followed.
    cfg.DATASET.FOLDER_LINKS = False


@DATASET_REGISTRY.register()
class Folder(ImageDataset):
    """A folder of own images. Labels follow the sorted class folders, or the list if it states labels."""

    is_listed = True  # and `read_split` checks what a list names

    def __init__(self, cfg: Any) -> None:
        self.settings = cfg.DATASET
        self.dataset_dir = os.path.expanduser(cfg.DATASET.FOLDER_PATH)
        super().__init__(cfg)

    @property
    def title(self) -> str:
        """What results call this dataset: two folders are two datasets."""
        return f"Folder {self.folder.name}"

    def prepare(self) -> None:
        """Raises FileNotFoundError if DATASET.FOLDER_PATH is no folder."""
        if not self.dataset_dir or not self.folder.is_dir():
            found = list_folders(self.root) if self.root.is_dir() else []
            raise FileNotFoundError(
                f"DATASET.FOLDER_PATH is {self.dataset_dir!r}, which is no folder. Give a folder of "
                f"DATASET.ROOT (now {self.root}; --root, or $DATA in the scripts), such as one of "
                f"{found[:10]}, or an absolute path. See docs/OWN_IMAGES.md."
            )

    def read_split(self) -> Split:
        """The split that a list or the folders state, or else one that is drawn once and kept."""
        labels: dict[str, int] = {}
        list_path = self.folder / os.path.expanduser(self.settings.FOLDER_LIST)
        if self.settings.FOLDER_LIST:
            images, labels = read_list(list_path)
        else:
            images, left_out = read_class_folders(self.folder)
            checked_rows([(image.path, 0, image.class_name) for image in images], str(self.folder))
            if left_out:
                print(
                    f"{self.title}: {len(left_out):,} files are left out (no images by their names, in no "
                    f"class folder, or linked folders), such as {', '.join(map(ascii, left_out[:5]))}"
                )
        self._check_files([image.path for image in images])
        names = self._class_names({image.class_name for image in images})
        split_from = str(list_path)
        if not images[0].part:
            name = f"split_own-{list_path.name}.json" if self.settings.FOLDER_LIST else "split_own.json"
            images, split_from = self._apply_kept_split(images, name)
        labels = labels or _labels_of(images)
        split = _to_split(images, labels, names, str(list_path))
        if not split.val:
            print(f"{self.title}: there are no val images, so TEST.FINAL_MODEL best_val cannot be used.")
        self.identity = {"pictures": str(self.folder), "split": split_from, "split_sha256": split.digest()}
        return split

    def _check_files(self, paths: Sequence[str]) -> None:
        """ValueError for a path that is no file, or a link out of the folder."""
        home = os.path.realpath(self.folder)
        for path in paths:
            full = self.folder / path
            if not full.is_file():
                raise ValueError(
                    f"{full} is missing, or a broken link or no ordinary file: take it out. Paths in a list "
                    f"are relative to {self.folder}."
                )
            real = os.path.realpath(full)
            if not self.settings.FOLDER_LINKS and os.path.commonpath([home, real]) != home:
                raise ValueError(
                    f"{full} is a link out of the folder, to {real}. Put the images themselves there, or "
                    "follow your own links with DATASET.FOLDER_LINKS True."
                )

    def _apply_kept_split(self, images: Sequence[OwnImage], name: str) -> tuple[list[OwnImage], str]:
        """The images with their part, by the kept split or one drawn and kept now; and where it is kept.

        That is beside the images or, if their folder cannot be written, below DATASET.ROOT.
        """
        key = hashlib.sha256(str(self.folder).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        places = (self.folder / name, self.root / "own_splits" / f"{self.folder.name}-{key}" / name)
        for place in places:
            if place.exists():
                return self._read_kept(place, images), str(place)
        drawn = draw_split(images)
        # A split that named damaged images would no longer fit when they are removed.
        damaged = unreadable([self.folder / image.path for image in drawn])
        if damaged:
            reasons = list(damaged.values())
            raise ValueError(f"{len(damaged):,} images cannot be read: {'; '.join(reasons[:5])}")
        split = _to_split(drawn, _labels_of(drawn), {}, "")
        how = f"drawn (seed {SPLIT_SEED}, 50/20/30 a class)"
        for place in places:
            try:
                rows = {part: getattr(split, part) for part in PARTS}
                write_json({"made_by": f"DATASET.NAME Folder: {how}", **rows}, str(place))
            except OSError:
                continue
            print(f"{self.title}: no split is stated, so one was {how} and kept as {place}")
            return drawn, str(place)
        raise OSError(
            f"Neither {places[0]} nor {places[1]} can be written, to keep the split that was drawn."
        )

    def _read_kept(self, place: Path, images: Sequence[OwnImage]) -> list[OwnImage]:
        split = read_split_file(place)
        kept = [OwnImage(row.path, row.name, part) for part in PARTS for row in getattr(split, part)]
        present = {image.path: image.class_name for image in images}
        gone = [image.path for image in kept if present.get(image.path) != image.class_name]
        if gone:
            raise ValueError(
                f"{len(gone):,} images of the split {place} are gone or have another class, such as "
                f"{', '.join(gone[:5])}. Put them back; or delete the file to draw a new split, whose "
                "results are not comparable with the old ones."
            )
        if len(kept) < len(present):
            print(
                f"{self.title}: {len(present) - len(kept):,} images came after the split was drawn and "
                f"are left out; delete {place} to draw a new one, whose results are not comparable with "
                "the old ones."
            )
        return kept

    def _class_names(self, classes: Collection[str]) -> dict[str, str]:
        """Class -> its name in prompts; ValueError if two are the same tokens."""
        names = {name: unicodedata.normalize("NFC", name) for name in classes}  # macOS writes accents apart
        if self.settings.FOLDER_CLASS_NAMES:
            path = self.folder / os.path.expanduser(self.settings.FOLDER_CLASS_NAMES)
            if not path.is_file():
                raise FileNotFoundError(
                    f"DATASET.FOLDER_CLASS_NAMES: there is no {path}. Put the file into the folder of the "
                    "images, or give its whole path."
                )
            names |= read_class_names(path, classes)
        for one, other in same_tokens(list(names.values())):
            raise ValueError(
                f"CLIP cannot tell the class names {one!r} and {other!r} apart: put their images together, "
                "or name them with DATASET.FOLDER_CLASS_NAMES."
            )
        numbers = [name for name in names.values() if re.match(r"\d+([._ -]|$)", name)]
        if numbers:
            print(
                f"{self.title}: class names begin with numbers, such as {numbers[0]!r}, which CLIP reads as "
                "part of the name: give words with DATASET.FOLDER_CLASS_NAMES (docs/OWN_IMAGES.md)."
            )
        return names


def draw_split(images: Sequence[OwnImage]) -> list[OwnImage]:
    """The images with a part each, drawn class by class with a fixed seed.

    Of the n images of a class, round(0.3 n) go to test, then round(0.2 n) to val if one is left for train,
    and the rest to train: 10 give 5, 2 and 3; 2 give 1, 0 and 1. The shares are those of the published
    readers.
    """
    by_class: dict[str, list[OwnImage]] = {}
    for image in sorted(images):
        by_class.setdefault(image.class_name, []).append(image)
    rng = random.Random(SPLIT_SEED)
    drawn = []
    for name in sorted(by_class):
        n = len(by_class[name])
        if n < 2:
            raise ValueError(f"Class {name!r} has one image; it needs two, to train on and to test on.")
        n_test = round(0.3 * n)
        n_val = min(round(0.2 * n), n - n_test - 1)
        parts = ["test"] * n_test + ["val"] * n_val + ["train"] * (n - n_test - n_val)
        shuffled = rng.sample(by_class[name], n)
        drawn += [image._replace(part=part) for image, part in zip(shuffled, parts, strict=True)]
    return drawn


def read_class_names(path: Path, classes: Collection[str]) -> dict[str, str]:
    """Class -> its name, of some of the `classes`, from a JSON file."""
    renamed = read_json(path)
    if not isinstance(renamed, dict):
        raise ValueError(f'{path} needs classes and names, such as {{"n02089867": "walker hound"}}.')
    for key, name in renamed.items():
        if key not in classes:
            raise ValueError(f"{path} names {key!r:.80}; the classes are {', '.join(sorted(classes)):.300}.")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{path} calls the class {key!r} {name!r:.80}, which is no name.")
    return {key: name.strip() for key, name in renamed.items()}


def _labels_of(images: Sequence[OwnImage]) -> dict[str, int]:
    return {name: label for label, name in enumerate(sorted({image.class_name for image in images}))}


def _to_split(
    images: Sequence[OwnImage], labels: dict[str, int], names: dict[str, str], origin: str
) -> Split:
    """The images as rows; `names` says what a class is called, if not like its folder."""
    split = Split([], [], [], origin)
    for image in images:
        name = names.get(image.class_name, image.class_name)
        getattr(split, image.part).append(Row(image.path, labels[image.class_name], name))
    return split
