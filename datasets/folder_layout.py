"""One's own pictures as they lie: a folder of class folders, with or without train, val and test above them.

    birds/robin/a.jpg                 classes alone: a split of one's own is drawn (folder_split.py)
    birds/train/robin/a.jpg           the parts first: the split that the folders state
    birds/test/robin/b.jpg

What is not taken is named, so that no picture is lost unnoticed; a link is followed only where it stays inside the folder.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .images import N_SHOWN, SUFFIXES, list_folders, list_pictures
from .splits import shown, wrong_with_name, wrong_with_text

PART_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Part of a split -> by the name, in lower case, of a folder or of an entry in a list."""

NO_CLASSES = frozenset({"split_fewshot", "__MACOSX"})
"""Folders that are never a class: the few-shot samples kept beside the pictures, and what macOS puts into archives."""


class Picture(NamedTuple):
    """One picture: its path relative to the folder ("/" between parts), its class, and train, val, test or "" (not stated)."""

    path: str
    class_name: str
    part: str = ""


def read_class_folders(folder: Path, owner: str) -> tuple[list[Picture], list[str]]:
    """The pictures of a folder of class folders, in sorted order, and lines that say what was left out or taken otherwise than named.

    A class's pictures may lie in folders below its own. Hidden files and folders are passed over without a word; of other files
    than pictures, of pictures in no class folder and of linked folders below a class, the number and the first few are told.

    Args:
        folder: holds class folders; or train and test, and perhaps val, which do.
        owner: opens every message.

    Raises:
        ValueError: there are no class folders, one of them is empty, or it is not clear which folders are classes.
    """
    folders = [name for name in list_folders(folder) if name not in NO_CLASSES]
    parts = _part_folders(folders, f"{owner}: {folder}")
    if not folders:
        raise ValueError(f"{owner}: {folder} holds no folders, but {_loose(folder) or 'nothing'}.\n{EXPECTED}")
    pictures: list[Picture] = []
    notes: list[str] = []
    if parts and "test" not in map(str.lower, parts):
        notes.append("there is no test folder: the pictures of val are the test pictures, and val is empty")
    for top, part in parts.items() if parts else [("", "")]:
        loose = _loose(folder / top)
        if loose:
            notes.append(f"left out, in no class folder of {folder / top}: {loose}")
        names = [name for name in list_folders(folder / top) if name not in NO_CLASSES]
        for name in names:
            pictures += [Picture(path, name, part) for path in _pictures_below(folder, "/".join(filter(None, (top, name))), notes)]
        _refuse_empty(names, {p.class_name for p in pictures if p.part == part}, f"{owner}: {folder / top}")
    return pictures, notes


EXPECTED = (
    "  expected: one folder a class, such as robin/1.jpg and wren/1.jpg; or these inside train, val and test;\n"
    "            or DATASET.FOLDER_LIST, a CSV or JSON file of path, class and split\n"
    "  see:      docs/OWN_PICTURES.md"
)


def _part_folders(names: Sequence[str], where: str) -> dict[str, str]:
    """Folder -> part, where the folders are parts of a split; empty where they are classes."""
    parts = {name: PART_OF[name.lower()] for name in names if name.lower() in PART_OF}
    others = [name for name in names if name not in parts]
    present = sorted(parts.values())
    if not parts or (others and not {"train", "test"} <= set(present)):
        return {}
    if others:
        raise ValueError(
            f"{where} holds {', '.join(sorted(parts))}, which are parts of a split, beside {_shown(others)}, which are not, so it is not "
            "clear which folders are classes.\n  next step: leave only one kind of folder there, or list the pictures in a file "
            "(DATASET.FOLDER_LIST; docs/OWN_PICTURES.md)."
        )
    if len(present) > len(set(present)):
        raise ValueError(f"{where} holds {', '.join(sorted(parts))}: two folders for one part of the split. Put their pictures together.")
    if "train" not in present or len(present) == 1:
        raise ValueError(
            f"{where} holds {', '.join(sorted(parts))} and no other folder; a split needs train and test.\n"
            f"  next step: add what is missing; or, to have a split drawn, set DATASET.FOLDER_PATH to the folder of the class folders itself."
        )
    if "test" not in present:  # as in ImageNet, whose val is what everyone tests on
        parts = {name: "test" if part == "val" else part for name, part in parts.items()}
    return parts


def _loose(folder: Path) -> str:
    """The pictures directly in `folder`, in words; an empty string where there are none."""
    names = list_pictures(folder)
    return f"{len(names):,} pictures ({_shown(names)})" if names else ""


def _pictures_below(folder: Path, class_folder: str, notes: list[str]) -> list[str]:
    """Paths, relative to `folder`, of the pictures in a class folder and below, sorted; `notes` gains a line for what is none."""
    paths: list[str] = []
    others: list[str] = []
    links: list[str] = []
    for parent, folders, files in os.walk(folder / class_folder):
        at = Path(parent).relative_to(folder).as_posix()
        links += [f"{at}/{name}" for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                (paths if os.path.splitext(name)[1].lower() in SUFFIXES else others).append(f"{at}/{name}")
    if others:
        counts = Counter(os.path.splitext(name)[1] or "without ending" for name in others)
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items()))
        notes.append(f"left out, no pictures by their endings ({kinds}): {_shown(sorted(others))}")
    if links:
        notes.append(f"left out, linked folders below a class: {_shown(sorted(links))}")
    return sorted(paths)


def _refuse_empty(names: Iterable[str], filled: set[str], where: str) -> None:
    empty = [name for name in names if name not in filled]
    if empty:
        raise ValueError(
            f"{where}: no pictures in {len(empty)} of its class folders: {_shown(empty)} (pictures end in {', '.join(sorted(SUFFIXES))}, "
            "in lower or upper case).\n  next step: add pictures, or take the folder away."
        )


def check_files(pictures: Iterable[Picture], folder: Path, follows_links: bool, owner: str) -> None:
    """Check that the pictures are ordinary files inside `folder`, with names that can be written down; absent ones are left to others.

    Args:
        pictures: their paths are relative to `folder`.
        follows_links: whether links that lead out of `folder` are followed (DATASET.FOLDER_LINKS).
        owner: opens every message.

    Raises:
        ValueError: a link leads nowhere, or out of the folder; a file is a device or a pipe; a name is no valid text.
    """
    home = os.path.realpath(folder)
    inside: dict[str, str] = {}  # parent folder -> where it leads if that is outside, else ""
    for picture in pictures:
        wrong = wrong_with_text(picture.path) or wrong_with_name(picture.class_name)
        if wrong:
            raise ValueError(f"{owner}: {shown(picture.path)} (class {shown(picture.class_name)}) {wrong}: rename it.")
        path = folder / picture.path
        parent = os.path.dirname(path)
        if parent not in inside:
            inside[parent] = _leads_out(parent, home)
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            if os.path.islink(path):
                raise ValueError(f"{owner}: {path} is a link that leads nowhere, to {os.readlink(path)!r}: mend or remove it.") from None
            continue
        if not is_file:
            raise ValueError(f"{owner}: {path} is not an ordinary file: leave it out.")
        out = inside[parent] or (_leads_out(path, home) if is_link else "")
        if out and not follows_links:
            raise ValueError(
                f"{owner}: {path} leads by a link out of the folder {folder}, to {out}.\n  next step: put the pictures themselves there; "
                "or, if the links are your own, DATASET.FOLDER_LINKS True follows them."
            )


def _leads_out(path: str | Path, home: str) -> str:
    """Where `path` leads, links resolved, if that is not inside `home`; else an empty string."""
    real = os.path.realpath(path)
    return "" if real == home or real.startswith(os.path.join(home, "")) else real


def _shown(names: Sequence[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - N_SHOWN:,} more" if len(names) > N_SHOWN else ""
    return ", ".join(f"{name!a}" if wrong_with_text(name) else repr(name) for name in names[:N_SHOWN]) + more
