"""Your own pictures: class folders, with or without train, val and test above them, or a list of path, class and split.

docs/OWN_PICTURES.md leads from a folder of pictures to results; `folder_layout.py` reads folders, `folder_lists.py` lists, and
`folder_split.py` draws and keeps a split where none is stated.
"""

import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .base_new import check_halves
from .folder_layout import check_files, read_class_folders
from .folder_lists import Listing, read_any_json, read_list
from .folder_split import KeptSplit, labels_of, to_split
from .images import N_SHOWN, list_folders
from .splits import PARTS, Split, shown, wrong_with_name

GUIDE = "docs/OWN_PICTURES.md"


def extend_cfg(cfg: Any) -> None:
    """Declare the settings of DATASET.NAME Folder; paths may begin with ~."""
    # The folder of the pictures: relative to DATASET.ROOT ($DATA in the scripts), or absolute. Has to be given.
    cfg.DATASET.FOLDER_PATH = ""
    # A .csv, .tsv, .txt or .json file of path, class and (optional) split, relative to the folder, or absolute. Empty: class folders.
    cfg.DATASET.FOLDER_LIST = ""
    # A .json file {folder or entry: class name}, for classes whose prompt should not be made of the folder's name; relative to the
    # folder, or absolute. Empty: the names as they are.
    cfg.DATASET.FOLDER_CLASS_NAMES = ""
    # Whether links that lead out of the folder are followed: True or False.
    cfg.DATASET.FOLDER_LINKS = False


@DATASET_REGISTRY.register()
class Folder(ImageDataset):
    """A folder of one's own pictures; the settings are those of `extend_cfg`.

    Labels follow the classes in sorted order (or the list, where it states labels), so that base is the first half of the alphabet.

    Raises:
        FileNotFoundError: the folder, a list or pictures of a list are missing.
        ValueError: a setting, a folder, a list or a picture is not usable.
    """

    source = "where they came from"
    can_make_split = False

    def __init__(self, cfg: Any) -> None:
        self.settings = cfg.DATASET
        self.dataset_dir = os.path.expanduser(cfg.DATASET.FOLDER_PATH)
        self.identity: dict[str, str] = {}  # which pictures and which split; goes into the run's result.json
        super().__init__(cfg)

    @property
    def title(self) -> str:
        """What results call this dataset: two folders are two datasets."""
        return f"Folder {self.folder.name}"

    @property
    def list_path(self) -> Path | None:
        """The list of pictures, or None for class folders."""
        given = self.settings.FOLDER_LIST
        return self.folder / os.path.expanduser(given) if given else None

    def prepare(self) -> None:
        """Say what DATASET.FOLDER_PATH should be where it is not given or no folder."""
        given = self.settings.FOLDER_PATH
        self.keep_dir = self.root  # for a split, where the folder cannot be written
        if given and self.folder.is_dir():
            self.root = self.folder.parent  # an absolute folder needs no DATASET.ROOT
            return
        what = f"DATASET.FOLDER_PATH is {given!r}, but {self.folder} is no folder" if given else "DATASET.FOLDER_PATH is not given"
        found = [name for name in list_folders(self.root) if name != "own_splits"] if self.root.is_dir() else []
        raise FileNotFoundError(
            f"Folder: {what}.\n"
            f"  accepted:  a folder relative to DATASET.ROOT, now {str(self.root)!r} (--root; $DATA in the scripts), or an absolute path\n"
            f"  found:     {', '.join(map(repr, found[:10])) or 'no folders'} in DATASET.ROOT\n"
            f"  next step: bash scripts/mpl/base2new.sh folder 1 DATASET.FOLDER_PATH my_pictures   (see {GUIDE})"
        )

    def read_split(self) -> Split:
        """The split that a list or the folders state, or else one's own, drawn once and kept."""
        owner = type(self).__name__
        listing = self._listing(owner)
        check_files(listing.pictures, self.folder, bool(self.settings.FOLDER_LINKS), owner)
        pictures, origin = listing.pictures, str(self.list_path or self.folder)
        check_halves(len({picture.class_name for picture in pictures}), self.settings.SUBSAMPLE_CLASSES, f"{owner}: {origin}")
        split_from = origin
        if not pictures[0].part:
            kept = KeptSplit(self.folder, self.keep_dir, self.list_path.name if self.list_path else "", owner)
            pictures, split_from, notes = kept.apply(pictures)
            self._tell(notes)
        labels = listing.labels or labels_of(pictures)
        split = to_split(pictures, labels, self._class_names(labels, owner), f"{owner}: {origin}")
        if not split.val:
            self._tell(["no val pictures: TEST.FINAL_MODEL best_val cannot be used, nothing else needs them"])
        self.identity = {"pictures": str(self.folder), "split": split_from, "split_sha256": split.digest(PARTS)}
        return split

    def _listing(self, owner: str) -> Listing:
        """The pictures, from the list or from the class folders."""
        path = self.list_path
        if path is None:
            self.is_listed = True
            pictures, notes = read_class_folders(self.folder, owner)
            self._tell(notes)
            return Listing(pictures, {}, 0)
        if not path.is_file():
            raise FileNotFoundError(
                f"{owner}: DATASET.FOLDER_LIST is {self.settings.FOLDER_LIST!r}, but there is no file {path}; a path is relative to "
                f"DATASET.FOLDER_PATH, {self.folder}, or absolute."
            )
        listing = read_list(path, owner)
        if listing.n_repeated:
            self._tell([f"{listing.n_repeated:,} rows of {path.name} say the same as a row before and are left out"])
        return listing

    def _class_names(self, labels: Iterable[str], owner: str) -> dict[str, str]:
        """Class -> its name in prompts."""
        names = {name: unicodedata.normalize("NFC", name) for name in labels}  # macOS writes accents as characters of their own
        given = self.settings.FOLDER_CLASS_NAMES
        if given:
            names.update(read_class_names(self.folder / os.path.expanduser(given), names, f"{owner}: DATASET.FOLDER_CLASS_NAMES"))
        refuse_alike(names, owner)
        return names

    def _tell(self, notes: list[str]) -> None:
        for note in notes:
            print(f"{self.title}: {note}")


def read_class_names(path: Path, classes: Collection[str], owner: str) -> dict[str, str]:
    """What the JSON file {class: name} calls some of the `classes`; `owner` opens the message.

    Raises FileNotFoundError, or ValueError where the file is no such object or names a class that is none.
    """
    renamed = read_any_json(path, owner)
    if not isinstance(renamed, dict) or not all(
        isinstance(name, str) and name.strip() and not wrong_with_name(name) for name in renamed.values()
    ):
        raise ValueError(f'{owner}: {path} has to hold an object of classes and their names, such as {{"n02089867": "walker hound"}}.')
    unknown = sorted(set(renamed) - set(classes))
    if unknown:
        raise ValueError(f"{owner}: {path} names {_few(unknown)}, which are no classes; the classes are {_few(sorted(classes))}.")
    return {key: name.strip() for key, name in renamed.items()}


def _few(names: Sequence[str]) -> str:
    """The first names of a list, and whether there are more."""
    return f"[{', '.join(map(shown, names[:N_SHOWN]))}]" + (" …" if len(names) > N_SHOWN else "")


def refuse_alike(names: Mapping[str, str], owner: str) -> None:
    """ValueError where two classes have names (class -> name) that read alike in prompts, so that nothing would tell them apart."""
    read_as: dict[str, str] = {}
    for key, name in names.items():
        other = read_as.setdefault(name.replace("_", " "), key)
        if other != key:
            raise ValueError(
                f"{owner}: the classes {other!r} and {key!r} both read {name.replace('_', ' ')!r} in prompts, so nothing tells them apart: put "
                "their pictures together, or name them with DATASET.FOLDER_CLASS_NAMES."
            )
