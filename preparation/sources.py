"""The table of sources, read and checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .errors import PrepareError

TABLE_PATH = Path(__file__).with_name("sources.yaml")
PROJECT_FILES = Path(__file__).parent
"""Where the files of ``project:`` sources stand."""

WAYS = ("url", "drive", "hub", "project", "by_hand")
KINDS = ("archive", "split", "file", "imagenet_train", "imagenet_val")
SMALL_KINDS = ("split", "file")
"""Kinds of some MB at most, beside which archives count."""
DATASET_KEYS = {"folder", "needs", "licence", "page", "note", "files"}
FILE_KEYS = {"name", "makes", "also", "kind", "optional", "unless", "bytes", "sha256", "md5", "sources"}
SOURCE_KEYS = {*WAYS, "name", "bytes", "sha256", "md5", "revision"}


@dataclass(frozen=True)
class Source:
    """One place that a file can be had from.

    Args:
        way: one of ``WAYS``.
        address: an address, an id, OWNER/REPOSITORY/FILE, a file of the project, or a page.
        revision: of a hub's repository; empty for its newest.
        name: the file's name there.
        size, sha256, md5: what is known of it; None for what is not.
    """

    way: str
    address: str
    revision: str
    name: str
    size: int | None
    sha256: str | None
    md5: str | None

    def __str__(self) -> str:
        told = {"drive": f"Google Drive (id {self.address})", "hub": f"the hub ({self.address})", "project": "this project"}
        return told.get(self.way, self.address)


@dataclass(frozen=True)
class File:
    """One file of a dataset: an archive to unpack, or a file to put into its folder.

    Args:
        name: its name.
        kind: one of ``KINDS``.
        makes: name in the archive -> path in the dataset's folder of what it must hold; for a file, itself.
        also: the same for what is put into place if it is there.
        is_optional: whether readers do without it.
        unless: path in the data folder of a file that serves in its place; empty for none.
        sources: in the order in which they are tried.
    """

    name: str
    kind: str
    makes: dict[str, str]
    also: dict[str, str]
    is_optional: bool
    unless: str
    sources: tuple[Source, ...]

    @property
    def names(self) -> dict[str, Source]:
        """The names under which it may lie in a folder of files fetched by hand, and what is known of each."""
        return {source.name: source for source in reversed(self.sources)} | {self.name: self._known_best()}

    def _known_best(self) -> Source:
        return next((source for source in self.sources if source.name == self.name), self.sources[0])


@dataclass(frozen=True)
class Dataset:
    """One dataset of the table; the arguments are the keys that the table's head describes."""

    name: str
    folder: str
    needs: tuple[str, ...]
    licence: str
    page: str
    note: str
    files: tuple[File, ...]

    def missing(self, root: Path) -> list[str]:
        """What of ``needs`` is not in the data folder ``root``, nor what serves in its place; an empty folder counts as missing."""
        instead = {file.name: root / file.unless for file in self.files if file.unless}
        absent = [need for need in self.needs if not is_there(root / self.folder / need)]
        return [need for need in absent if need not in instead or not is_there(instead[need])]

    def known_bytes(self) -> int:
        """Bytes to download, each file from its first source, of those whose size the table knows."""
        return sum(file.sources[0].size or 0 for file in self.files)

    def archives_of_unknown_size(self) -> list[str]:
        """The archives whose size at their first source the table does not know; split files and other small ones are left out."""
        return [file.name for file in self.files if file.kind not in SMALL_KINDS and file.sources[0].size is None]


def is_there(path: Path) -> bool:
    """Whether a file, or a folder with something in it, is there."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def check_root(root: Path) -> None:
    """Check that ``root`` may be a data folder: one that can be looked at, or nothing yet.

    Raises:
        ValueError: it is a file or cannot be looked at.
    """
    try:
        is_other = root.exists() and not root.is_dir()
        if not is_other and root.is_dir():
            os.listdir(root)
    except OSError as e:
        raise ValueError(
            f"--root is {str(root)!r}, which cannot be looked at ({e.strerror or e}); it takes a folder that you may read"
        ) from e
    if is_other:
        raise ValueError(f"--root is {str(root)!r}, which is not a folder; it takes the folder that holds the datasets' folders")


def load_table(path: Path = TABLE_PATH) -> dict[str, Dataset]:
    """The datasets of a table of sources, by name.

    Raises:
        PrepareError: the file is missing, no YAML, or a setting in it is unknown, missing or unsafe; the message names it.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise PrepareError(f"the table of sources {path} cannot be read: {e}") from e
    if not isinstance(table, dict):
        raise PrepareError(f"the table of sources {path} holds no datasets; its form is described at the head of {TABLE_PATH}")
    try:
        return {str(name): _dataset(str(name), entry) for name, entry in table.items()}
    except _TableError as e:
        raise PrepareError(f"the table of sources {path}: {e}; its form is described at the head of {TABLE_PATH}") from e


class _TableError(Exception):
    """What is wrong with an entry."""


def _dataset(name: str, entry: Any) -> Dataset:
    _check_keys(name, entry, DATASET_KEYS, required=("folder", "needs", "files"))
    files = tuple(_file(f"{name}, file {number}", file) for number, file in enumerate(_list(f"{name}, files", entry["files"]), 1))
    needs = tuple(_safe(f"{name}, needs", need) for need in _list(f"{name}, needs", entry["needs"]))
    folder = _safe(f"{name}, folder", entry["folder"])
    return Dataset(name, folder, needs, str(entry.get("licence", "")), str(entry.get("page", "")), str(entry.get("note", "")), files)


def _file(where: str, entry: Any) -> File:
    _check_keys(where, entry, FILE_KEYS, required=("name", "sources"))
    name = _safe(f"{where}, name", entry["name"])
    makes, also = (_places(f"{where}, {key}", entry.get(key, [])) for key in ("makes", "also"))
    kind = entry.get("kind", "archive" if makes else "file")
    if kind not in KINDS:
        raise _TableError(f"{where}: kind is {kind!r}; known: {', '.join(KINDS)}")
    sources = tuple(
        _source(f"{where}, source {number}", s, entry) for number, s in enumerate(_list(f"{where}, sources", entry["sources"]), 1)
    )
    if not sources:
        raise _TableError(f"{where} has no sources")
    unless = _safe(f"{where}, unless", entry["unless"]) if "unless" in entry else ""
    return File(name, kind, makes or {name: name}, also, bool(entry.get("optional", False)), unless, sources)


def _source(where: str, entry: Any, file: dict[str, Any]) -> Source:
    _check_keys(where, entry, SOURCE_KEYS)
    ways = [way for way in WAYS if way in entry]
    if len(ways) != 1:
        raise _TableError(f"{where}: one of {', '.join(WAYS)} is expected, not {ways or 'none'}")
    facts = {
        key: entry.get(key, None if "name" in entry and key != "name" else file.get(key)) for key in ("name", "bytes", "sha256", "md5")
    }
    size = facts["bytes"]
    if size is not None and (type(size) is not int or size < 0):
        raise _TableError(f"{where}: bytes is {size!r}, not a number")
    name = _safe(f"{where}, name", facts["name"])
    return Source(ways[0], str(entry[ways[0]]), str(entry.get("revision", "")), name, size, facts["sha256"], facts["md5"])


def _places(where: str, entry: Any) -> dict[str, str]:
    """NAME IN ARCHIVE -> PATH IN FOLDER, from such a mapping or from a list of names that are both."""
    pairs = entry.items() if isinstance(entry, dict) else [(name, name) for name in _list(where, entry)]
    return {_safe(where, name): _safe(where, place) for name, place in pairs}


def _check_keys(where: str, entry: Any, known: set[str], required: Iterable[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise _TableError(f"{where} is {entry!r}, not a mapping")
    unknown, absent = sorted(set(map(str, entry)) - known), [key for key in required if key not in entry]
    if unknown or absent:
        raise _TableError(f"{where}: " + "; ".join([f"unknown: {key}" for key in unknown] + [f"missing: {key}" for key in absent]))


def _list(where: str, entry: Any) -> list[Any]:
    if not isinstance(entry, list):
        raise _TableError(f"{where} is {entry!r}, not a list")
    return entry


def _safe(where: str, path: Any) -> str:
    """A relative path that stays where it is put."""
    text = str(path)
    if not text or PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or "\\" in text or text.startswith("."):
        raise _TableError(f"{where}: {text!r} is no path inside of the dataset's folder")
    return text
