"""The pictures that a split names: which are missing, empty or damaged, and what probably happened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from shlex import join

from datasets.base import ImageDataset
from datasets.images import MAX_CHECKED, MEMORY_NAME, missing_pictures, paths_of, remember_readable, unreadable_pictures
from datasets.splits import PARTS, Split

from . import commands
from .findings import DatasetReport, Finding, prepare_command, shown

MAX_RENAMED = 12
"""How many folders a command renames one by one; our choice: beyond it, unpacking again is the clearer cure."""


def check_pictures(
    name: str, reader: ImageDataset, split: Split, report: DatasetReport, decode: bool, advance: Callable[[int], object] | None
) -> None:
    """Look at every picture that the split names, and write numbers and findings into `report`.

    Args:
        name: the dataset's name in configs/datasets.
        reader: its reader, placed on the data folder.
        split: its rows.
        report: gains `n_named`, `n_present`, `n_unreadable` and findings.
        decode: whether the pictures are also decoded to their end.
        advance: told how many were decoded, now and then.
    """
    paths, images = paths_of(split), reader.image_folder
    missing = missing_pictures(paths, images)
    present = sorted(set(paths) - set(missing))
    sizes = {path: _size(images / path) for path in present}
    dangling = [path for path, size in sizes.items() if size is None]
    empty = [path for path, size in sizes.items() if size == 0]
    report.n_named, report.n_present = len(paths), len(present) - len(dangling)
    if missing or dangling:
        report.findings.append(_missing(name, reader, paths, missing, dangling))
    if empty:
        report.findings.append(_damaged("empty pictures", f"{len(empty):,} of its pictures are empty files", name, reader, empty, empty))
    if decode:
        opened = [path for path, size in sizes.items() if size]
        wrong = unreadable_pictures(opened, images, advance)
        report.n_unreadable = len(wrong) + len(empty)
        _remember(split, set(opened) - set(wrong), reader)
        if wrong:
            told = [f"{path} ({why})" for path, why in wrong.items()]
            what = f"{len(wrong):,} of its pictures cannot be decoded"
            report.findings.append(_damaged("unreadable pictures", what, name, reader, list(wrong), told))


def _remember(split: Split, sound: set[str], reader: ImageDataset) -> None:
    """Spare training the decoding of these pictures, for the lists that it would decode."""
    lists = [getattr(split, part) for part in PARTS]
    used = dict.fromkeys(row.path for rows in lists if len(rows) <= MAX_CHECKED for row in rows)
    remember_readable([path for path in used if path in sound], reader.image_folder, reader.folder / MEMORY_NAME)


def _size(path: Path) -> int | None:
    """A file's size in bytes; None where a link leads nowhere or the file cannot be looked at."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _damaged(kind: str, what: str, name: str, reader: ImageDataset, paths: list[str], told: list[str]) -> Finding:
    """The finding for pictures that are there and no use; Shapes draws only what is absent, so that its damaged pictures have to go first."""
    again = prepare_command(name, reader.root, replaces=True)
    if name == "shapes":
        again = f"{join(['rm', *(str(reader.image_folder / path) for path in paths)])} && {again}"
    return Finding(kind, f"{what}: {shown(told)}", again)


def _missing(name: str, reader: ImageDataset, paths: list[str], missing: list[str], dangling: list[str]) -> Finding:
    """The finding for pictures that are not there, with what probably happened: other case, or an unpacking that was cut short."""
    images, again = reader.image_folder, prepare_command(name, reader.root, replaces=True)
    what = f"{len(missing) + len(dangling):,} of the {len(paths):,} pictures that its split names are missing under {images}"
    if dangling and not missing:
        return Finding("missing pictures", f"{what}: links that lead nowhere, {shown(dangling)}", again)
    renaming = _case_cure(missing, images)
    if renaming is not None:
        cases, cure = renaming
        return Finding("missing pictures", f"{what}: they are there with capital and small letters otherwise, {shown(cases)}", cure)
    tops = Counter(_top(path) for path in paths)
    gone = [top for top, n in Counter(map(_top, missing)).items() if top and n == tops[top]]
    of_folders = f"; half-extracted: nothing of {len(gone):,} of its {len(tops):,} folders is there ({shown(gone)})" if gone else ""
    return Finding("missing pictures", f"{what}{of_folders}, such as {shown(missing)}", again)


def _top(path: str) -> str:
    """The folders of a path; empty for a picture in no folder."""
    return str(PurePosixPath(path).parent) if "/" in path else ""


def _case_cure(missing: Sequence[str], images: Path) -> tuple[list[str], str] | None:
    """Where every missing picture is there but for upper and lower case: what is otherwise, and the command that renames; else None."""
    listings: dict[Path, dict[str, str]] = {}
    folders: dict[tuple[Path, Path], None] = {}
    endings: dict[tuple[str, str], None] = {}
    for path in missing:
        at, parts = images, PurePosixPath(path).parts
        for part in parts:
            if at not in listings:
                listings[at] = {name.lower(): name for name in os.listdir(at)} if at.is_dir() else {}
            there = part if (at / part).exists() else listings[at].get(part.lower())
            if there is None:
                return None
            if there != part and part != parts[-1]:
                folders[(at / there, at / part)] = None
            elif there != part:
                old, new = os.path.splitext(there), os.path.splitext(part)
                if old[0] != new[0]:
                    return None
                endings[(old[1], new[1])] = None
            at = at / there
    if len(folders) > MAX_RENAMED or not (folders or endings):
        return None
    renames = [commands.rename_all(list(reversed(folders)))] if folders else []  # the deepest first
    renames += [commands.rename_endings(images, *pair) for pair in endings]
    cases = [f"{old.name} for {new.name}" for old, new in folders] + [f"{old} for {new}" for old, new in endings]
    return cases, " && ".join(renames)
