"""Splits: which picture belongs to train, val or test, with its label and class name.

A split file is JSON with the keys train, val and test; each holds rows [path relative to the image folder, label, class
name]. Everything read from one is checked here, row by row, before any picture is touched.
"""

import hashlib
import json
import os
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from reprlib import Repr
from typing import Any, NamedTuple

MAX_FILE_BYTES = 128 * 2**20
"""Largest split or list that is read, in bytes; our choice: the largest published one, SUN397's, has under 5 MB, a list of ImageNet's training pictures some
80 MB, and JSON takes up to 20 times its size in memory."""

MAX_PATH = 1024
"""Longest path of a picture in a list, in characters; our choice: what common file systems take is of this order."""

MAX_NAME = 1_000
"""Longest class name, in characters; our choice: CLIP's 77 tokens hold some 300."""

PARTS = ("train", "val", "test")

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: Any) -> str:
    """A value from a file as a message shows it: short, on one line, and in characters that every terminal prints."""
    text = _SHORT.repr(value)
    return text if text.isprintable() else ascii(text)[1:-1]


class Row(NamedTuple):
    """One picture: its path relative to the image folder ("/" between parts), its label from 0, its class name."""

    path: str
    label: int
    name: str


@dataclass
class Split:
    """The rows of train, val and test, in a stable order.

    `origin` names the file or folder that the rows come from, for messages. `is_own` says that they are not the
    published split but one made here with DATASET.MAKE_SPLIT.
    """

    train: list[Row]
    val: list[Row]
    test: list[Row]
    origin: str = ""
    is_own: bool = field(default=False, compare=False)

    def digest(self, parts: Sequence[str] = ("train", "val")) -> str:
        """SHA-256, in hex, of the rows of these parts, in their order; by default those that few-shot samples are drawn from."""
        sha = hashlib.sha256()
        for part in parts:
            for row in getattr(self, part):
                sha.update(json.dumps(row).encode())
            sha.update(b"\n")
        return sha.hexdigest()

    def class_names(self) -> dict[int, str]:
        """Label -> class name over all three parts, in order of label.

        Raises ValueError where a label has two names.
        """
        names: dict[int, str] = {}
        for part in PARTS:
            for row in getattr(self, part):
                known = names.setdefault(row.label, row.name)
                if known != row.name:
                    raise ValueError(
                        f"{self.origin}: label {row.label} has two class names, {shown(known)} and {shown(row.name)} (the second "
                        f"at {shown(row.path)} of {part!r}). A label stands for one class: correct the rows, or fetch the file again."
                    )
        return dict(sorted(names.items()))

    def check_classes(self) -> None:
        """Check that train and test have pictures and that train's labels run from 0 without a gap.

        Raises ValueError that names the first class without training pictures.
        """
        names = self.class_names()
        for part in ("train", "test"):
            if not getattr(self, part):
                raise ValueError(f"{self.origin}: {part!r} holds no pictures; train and test each need at least one.")
        trained = {row.label for row in self.train}
        n_labels = max(names) + 1
        if len(trained) < n_labels:
            label = next(label for label in range(n_labels) if label not in trained)  # found within the first len(trained) + 1
            what = f"class {label} ({shown(names[label])})" if label in names else f"label {label}, of no known name,"
            raise ValueError(
                f"{self.origin}: {what} has no training pictures ({n_labels - len(trained):,} such of {n_labels:,} labels). "
                "Labels of train must run from 0 without a gap: give the class pictures, or leave it out and renumber."
            )


def check_file(path: Path, owner: str) -> None:
    """Check that `path` is a file of at most `MAX_FILE_BYTES`; `owner` (a dataset's name) opens the message.

    Raises FileNotFoundError or ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{owner}: the file {path} is missing.")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise ValueError(
            f"{owner}: {path} has {n_bytes:,} bytes; files of at most {MAX_FILE_BYTES:,} bytes are read. "
            "No published list comes near that: fetch it again."
        )


def read_text(path: Path, owner: str) -> str:
    """The text (UTF-8, with or without a byte-order mark) of a file that passes `check_file`; ValueError if it is not UTF-8."""
    check_file(path, owner)
    try:
        return path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{owner}: {path} is not UTF-8 text ({error.reason} at byte {error.start}): fetch it again.") from error


def read_lines(path: Path, owner: str) -> list[str]:
    """The lines of a text file without surrounding white space, empty ones left out."""
    return [line.strip() for line in read_text(path, owner).splitlines() if line.strip()]


def read_json_object(path: Path, owner: str) -> dict[str, Any]:
    """The object in a JSON file; ValueError if the file is no JSON or holds something else."""
    data = parse_json(read_text(path, owner), f"{owner}: {path}")
    if not isinstance(data, dict):
        raise ValueError(f"{owner}: {path} holds a JSON {type(data).__name__}, expected an object.")
    return data


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds; `where` (dataset and file) opens the ValueError if it is no JSON, is nested too deep, or gives a key of an object twice."""
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{where} is not valid JSON ({str(error) or type(error).__name__}): fetch or write it again.") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; Python would keep the last of two values of one key without a word."""
    data = dict(pairs)
    if len(data) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {shown(next(key for key, n in counts.items() if n > 1))} is given twice in one object")
    return data


def read_split_file(path: Path, owner: str) -> Split:
    """Read and check a split file.

    Args:
        path: the JSON file.
        owner: the dataset's name, which opens every message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is too large, no JSON, lacks a key, or holds a row that is not [path, label, name] with a
            relative path below the image folder, an integer label from 0 and a class name.
    """
    data = read_json_object(path, owner)
    absent = [part for part in PARTS if part not in data]
    if absent:
        raise ValueError(f"{owner}: {path} lacks the keys {absent}; it has {shown(sorted(data))}. A split file has {list(PARTS)}.")
    train, val, test = (parse_rows(data[part], f"{owner}: {path}, {part!r}") for part in PARTS)
    return Split(train, val, test, origin=f"{owner}: {path}", is_own="made_by" in data)


def parse_rows(rows: Any, where: str) -> list[Row]:
    """Rows as read from JSON, checked; `where` (dataset, file and key) opens the message of a ValueError."""
    if not isinstance(rows, list):
        raise ValueError(f"{where} holds a JSON {type(rows).__name__}, expected a list of rows [path, label, class name].")
    for i, row in enumerate(rows):
        wrong = wrong_with_row(row)
        if wrong:
            raise ValueError(
                f"{where}, row {i}: {wrong}; received {shown(row)}. "
                "A row is [path relative to the image folder, label (an integer from 0), class name]."
            )
    return [Row(*row) for row in rows]


def wrong_with_row(row: Any) -> str:
    """What is wrong with one row of a split, whichever file it comes from; an empty string if nothing is."""
    if not isinstance(row, (list, tuple)) or len(row) != 3:
        return "it is not a list of three"
    path, label, name = row
    wrong = wrong_with_path(path)
    if wrong:
        return f"its path {wrong}"
    if type(label) is not int or label < 0:  # not isinstance: True and False are ints too
        return "its label is not an integer from 0"
    if not isinstance(name, str) or not name.strip():
        return "its class name is not a string with something in it"
    wrong = wrong_with_name(name)
    return f"its class name {wrong}" if wrong else ""


def wrong_with_name(name: str) -> str:
    """What is wrong with a class name, which goes into prompts, messages and files; an empty string if nothing is."""
    if len(name) > MAX_NAME:
        return f"has {len(name):,} characters, of at most {MAX_NAME:,}"
    return wrong_with_text(name)


def wrong_with_text(text: str) -> str:
    """What is wrong with a name or path that has to be printed and written to JSON; an empty string if nothing is."""
    if not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        return "has control characters, or bytes that are not UTF-8"
    return ""


def wrong_with_path(path: Any) -> str:
    """What is wrong with the path of a picture as a list gives it, such as "is absolute"; an empty string if nothing is."""
    if not isinstance(path, str) or not path or "\0" in path:
        return "is not a usable string"
    if len(path) > MAX_PATH:
        return f"has {len(path):,} characters, of at most {MAX_PATH:,}"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or PureWindowsPath(path).root:
        return "is absolute"
    if ".." in PureWindowsPath(path).parts:  # which splits at both "/" and "\"
        return 'leaves the image folder by ".."'
    return wrong_with_text(path)


def write_json_whole(path: Path, data: dict[str, Any]) -> None:
    """Write JSON so that `path` is there whole or not at all, also when several processes write it at once.

    Each writes a file of its own beside `path` and renames it; the last one stands. Raises OSError where the folder
    cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}.tmp"
    try:
        with open(beside, "x", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def rows_by_label(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Label -> its rows, labels in order of first appearance, rows in order."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.label, []).append(row)
    return groups
