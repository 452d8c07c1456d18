"""Recognising a dataset's pictures, lists and archives where they lie elsewhere than its reader looks; marks stand in layouts.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from datasets.base import ImageDataset
from datasets.images import paths_of
from datasets.splits import Split

from . import commands
from .findings import Finding, prepare_command

LAYOUTS_PATH = Path(__file__).with_name("layouts.yaml")
MAX_DEPTH = 5
"""How many folders down is searched; our choice: Kaggle's ImageNet lies four down (ILSVRC/Data/CLS-LOC/train)."""
MAX_CHILDREN = 30
"""A folder with more folders in it is not searched below: those are class folders; our choice, above what any archive has at its top."""
N_SAMPLE = 64
"""How many paths of a split are looked for in a folder; our choice: two of a class in most datasets."""

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
UNFINISHED = (".part", ".crdownload", ".incomplete", ".aria2", ".download", ".partial")
"""Endings of what a browser or a download program leaves when it did not finish."""

SOLUTION_NAME = "LOC_val_solution.csv"
"""Kaggle's list of the classes of ImageNet's validation pictures."""


@dataclass(frozen=True)
class Scattered:
    """How pictures are known that are spread over class folders; see layouts.yaml."""

    holds: str
    named: str
    files: str


@dataclass(frozen=True)
class Piece:
    """A folder of pictures and how it is known; see layouts.yaml."""

    folder: str
    holds: str
    named: str = ".*"
    scattered: Scattered | None = None
    flat: str = ""


@dataclass(frozen=True)
class Marks:
    """How one dataset is known; see layouts.yaml."""

    aliases: str
    pieces: tuple[Piece, ...]
    other: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def read_marks() -> dict[str, Marks]:
    """Name in configs/datasets -> marks."""

    def piece(folder: str, facts: dict[str, Any]) -> Piece:
        scattered = Scattered(**facts.pop("scattered")) if "scattered" in facts else None
        return Piece(folder, scattered=scattered, **facts)

    table = yaml.safe_load(LAYOUTS_PATH.read_text(encoding="utf-8"))
    return {
        name: Marks(facts["aliases"], tuple(piece(*item) for item in facts["pieces"].items()), facts.get("other", {}))
        for name, facts in table.items()
    }


class Search:
    """The folders in which a dataset may lie, listed once.

    Args:
        name: the dataset's name in configs/datasets.
        reader: its reader, placed on the data folder.
        split: its split, where one could be read: its paths tell its pictures from others.
    """

    def __init__(self, name: str, reader: ImageDataset, split: Split | None) -> None:
        self.name, self.reader, self.marks = name, reader, read_marks()[name]
        self._folders: list[tuple[Path, set[str]]] | None = None
        self._others: list[Path] = []
        self._linked: Path | None = None
        split = None if reader.is_listed else split or self._split_elsewhere()
        self.paths = paths_of(split) if split is not None else []

    def _split_elsewhere(self) -> Split | None:
        """The split, where its lists all lie together in another folder than the dataset's; else None."""
        lists = self.reader.list_paths()
        lying = self.find_file(lists[0].name)
        if lying is None:
            return None
        reader = type(self.reader).at(self.reader.root)
        reader.folder = lying.parent
        try:
            return reader.read_split()
        except (OSError, ValueError):
            return None

    def folders(self) -> list[tuple[Path, set[str]]]:
        """Every folder that is searched, nearest first, with the names in it."""
        if self._folders is None:
            self._folders = list(self._walk())
        return self._folders

    def _walk(self) -> Iterator[tuple[Path, set[str]]]:
        level, seen = self._tops(), set()
        for _ in range(MAX_DEPTH + 1):
            below: list[Path] = []
            for folder in level:
                key = _identity(folder)
                if key is None or key in seen:
                    continue
                seen.add(key)
                if any(re.fullmatch(pattern, folder.name, re.IGNORECASE) for pattern in self.marks.other):
                    self._others.append(folder)
                    continue
                names, inner = _listing(folder)
                yield folder, names
                if len(inner) <= MAX_CHILDREN or any(re.fullmatch(p, i, re.IGNORECASE) for p in self.marks.other for i in inner):
                    below += [folder / child for child in inner]
            level = below

    def _tops(self) -> list[Path]:
        """The dataset's folder, and those of the data folder that are named like it."""
        root = self.reader.root
        _, children = _listing(root)
        like = [root / child for child in children if self._is_alias(child)]
        return [self.reader.folder, *(folder for folder in like if folder != self.reader.folder)]

    def misplaced(self) -> list[Finding]:
        """A finding for each piece of the pictures that is not where the reader looks for it but elsewhere; one a command."""
        found: dict[str, Finding] = {}
        for piece in self.marks.pieces:
            expected = self.reader.image_folder / piece.folder
            sample = self._sample(piece)
            if _score(expected, _listing(expected)[0], piece, sample) == 0:
                finding = self._scattered(piece, expected) or self._elsewhere(piece, expected, sample) or self._flat(piece, expected)
                if finding is not None:
                    found.setdefault(finding.cure, finding)
        return list(found.values())

    def another_version(self) -> Finding | None:
        """A finding where what lies there is no such pictures but, say, the videos that they come from."""
        self.folders()
        for folder in self._others:
            what = next(text for pattern, text in self.marks.other.items() if re.fullmatch(pattern, folder.name, re.IGNORECASE))
            return Finding("layout", f"{folder} is of {what}", prepare_command(self.name, self.reader.root))
        return None

    def _sample(self, piece: Piece) -> list[str]:
        """Some of the split's paths in a piece, relative to it, spread over all of them."""
        prefix = f"{piece.folder}/" if piece.folder else ""
        paths = [path.removeprefix(prefix) for path in self.paths if path.startswith(prefix)]
        return paths[:: max(1, len(paths) // N_SAMPLE)]

    def _elsewhere(self, piece: Piece, expected: Path, sample: Sequence[str]) -> Finding | None:
        best, best_score = None, 0.0
        for folder, names in self.folders():
            if folder != expected and re.fullmatch(piece.named, folder.name, re.IGNORECASE):
                score = _score(folder, names, piece, sample)
                if score > best_score:
                    best, best_score = folder, score
        if best is None:
            return None
        self._linked = commands.whole_folder(best, expected, self.reader.folder)
        return Finding(
            "layout",
            f"its pictures lie in {best}, not in {expected}",
            commands.put_in_place(best, expected, self.reader.folder),
        )

    def _scattered(self, piece: Piece, expected: Path) -> Finding | None:
        marks = piece.scattered
        if marks is None:
            return None
        for folder, _ in self.folders():
            if re.fullmatch(marks.named, folder.name, re.IGNORECASE) and next(folder.glob(marks.holds), None) is not None:
                return Finding(
                    "layout",
                    f"its pictures are spread over class folders in {folder}; they belong side by side in {expected}",
                    commands.gather(folder, expected, self.reader.folder, marks.files),
                )
        return None

    def _flat(self, piece: Piece, expected: Path) -> Finding | None:
        """ImageNet's validation pictures without class folders, as its archive has them."""
        if not piece.flat:
            return None
        for folder, names in self.folders():
            if any(re.fullmatch(piece.flat, name) for name in names):
                what = f"the pictures in {folder} lie without class folders; they belong in {expected}/<wnid>"
                solution = self.find_file(SOLUTION_NAME)
                if solution is not None:
                    return Finding("layout", what, commands.sort_by_solution(folder, expected, solution))
                advice = "put ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz into a folder ARCHIVES, then run: "
                command = prepare_command(self.name, self.reader.root, Path("ARCHIVES"))
                return Finding("layout", what, advice + command, is_command=False)
        return None

    def find_file(self, name: str) -> Path | None:
        """A file of this name in the data folder itself or in the folders that are searched; None if there is none."""
        places = [self.reader.root, *(folder for folder, names in self.folders() if name in names)]
        return next((place / name for place in places if (place / name).is_file()), None)

    def brings(self, name: str) -> bool:
        """Whether a list of this name comes along with the pictures, because the folder that both lie in is linked as a whole."""
        return self._linked is not None and (self._linked / name).is_file()

    def archives(self) -> tuple[list[Path], list[Path]]:
        """Archives of the dataset that lie packed, and files of unfinished downloads, in the data folder and the folders searched."""
        root = self.reader.root
        files = [folder / name for folder, names in self.folders() for name in sorted(names)]
        files += [root / name for name in sorted(_listing(root)[0]) if self._is_alias(_without(_without(name, UNFINISHED), ARCHIVES))]
        packed = [path for path in files if path.name.lower().endswith(ARCHIVES) and path.is_file()]
        return packed, [path for path in files if path.name.lower().endswith(UNFINISHED) and path.is_file()]

    def _is_alias(self, name: str) -> bool:
        """Whether something in the data folder is named like the dataset."""
        return re.fullmatch(self.marks.aliases, re.sub("[^a-z0-9]", "", name.lower())) is not None


def _without(name: str, endings: Sequence[str]) -> str:
    return next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), name)


def wrong_root(reader: ImageDataset) -> Path | None:
    """The data folder that was probably meant, where the one given is the dataset's own or the one above; None otherwise."""
    root = reader.root
    if reader.folder.exists():
        return None
    if root.name == reader.dataset_dir and (reader.image_dir == "" or (root / reader.image_dir).is_dir()):
        return root.parent
    children = [root / child for child in _listing(root)[1]]
    return next((child for child in children if (child / reader.dataset_dir / reader.image_dir).is_dir()), None)


def _score(folder: Path, names: set[str], piece: Piece, sample: Sequence[str]) -> float:
    """How much of a piece a folder holds, from 0 to 1: by a sample of the split's paths, or by the names known of it."""
    if not names:
        return 0.0
    if not sample:
        return float(any(re.fullmatch(piece.holds, name) for name in names))
    tops = {path.split("/", 1)[0] for path in sample}
    return sum((folder / path).is_file() for path in sample) / len(sample) if tops & names else 0.0


def _listing(folder: Path) -> tuple[set[str], list[str]]:
    """The names in a folder, and those of them that are folders, sorted; hidden ones passed over; nothing where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
            return {entry.name for entry in visible}, sorted(entry.name for entry in visible if entry.is_dir())
    except OSError:
        return set(), []


def _identity(folder: Path) -> tuple[int, int] | None:
    """What two names of one folder share; None where there is no folder."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
