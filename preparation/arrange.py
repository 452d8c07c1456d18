"""From an archive to the place where the readers look: unpacked beside it, and renamed when all is there."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import ArchiveError
from .extract import extract, remove
from .sources import is_there

TEMPORARY = ".unpacking-"
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tar.xz")


@contextmanager
def unpacked(archive: Path, folder: Path, is_verified: bool) -> Iterator[Path]:
    """What is in an archive, in a temporary folder in ``folder``, which goes when it is no longer needed.

    Raises:
        ArchiveError, DiskSpaceError: as :func:`preparation.extract.extract`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
    tree.chmod(0o755)  # what is renamed from here is for everybody who may read the data folder
    try:
        print(f"  Unpacking {archive.name}", flush=True)
        extract(archive, tree, is_verified)
        yield tree
    finally:
        remove(tree)


def leftovers(folder: Path) -> list[Path]:
    """What runs that were killed left half unpacked, or a run unpacks now."""
    return list(folder.glob(f"{TEMPORARY}*"))


def remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted run left half unpacked; only for who holds the dataset's lock."""
    for path in leftovers(folder):
        remove(path)


def arrange(archive: Path, folder: Path, makes: Mapping[str, str], also: Mapping[str, str], is_verified: bool, replaces: bool) -> None:
    """Unpack an archive and put what it holds into a dataset's folder.

    Args:
        archive: the file.
        folder: the dataset's folder.
        makes: name in the archive -> path in the folder; each must be there.
        also: the same, for what need not be there.
        is_verified: whether a hash has shown that the archive is whole.
        replaces: whether what is in the folder already gives way.

    Raises:
        ArchiveError: it is damaged or hostile, or something is not in it; the folder is as it was.
    """
    with unpacked(archive, folder, is_verified) as tree:
        found = {name: find(tree, name, is_verified) for name in makes}
        absent = [name for name, path in found.items() if path is None]
        if absent:
            top = ", ".join(sorted(path.name for path in tree.iterdir())[:5]) or "nothing"
            raise ArchiveError(f"{archive.name} does not hold {', '.join(absent)}; it holds {top}")
        extras = {name: find(tree, name, is_verified) for name in also}
        for name, path in (found | extras).items():
            if path is not None:
                put(path, folder / {**makes, **also}[name], replaces)


def find(tree: Path, name: str, is_verified: bool = False) -> Path | None:
    """The file or folder ``name`` in a tree, the one nearest to the top; None if it is nowhere.

    A folder that holds nothing but a folder of its own name stands for that (Kaggle's archives are so). If it is nowhere, an archive of that name, such as
    ``101_ObjectCategories.tar.gz`` in Caltech's, is unpacked where it lies.
    """
    path = _find(tree, {name})
    if path is None:
        inner = _find(tree, {name + ending for ending in ARCHIVE_ENDINGS})
        if inner is None or not inner.is_file():
            return None
        folder = Path(tempfile.mkdtemp(prefix="inner-", dir=inner.parent))
        extract(inner, folder, is_verified)
        path = _find(folder, {name})
    while path is not None and path.is_dir() and [p.name for p in path.iterdir()] == [path.name]:
        path = path / path.name
    return path


def _find(tree: Path, names: set[str]) -> Path | None:
    folders = deque([tree])
    while folders:
        entries = sorted(folders.popleft().iterdir())
        for entry in entries:
            if entry.name in names:
                return entry
        folders.extend(entry for entry in entries if entry.is_dir())
    return None


def put(path: Path, target: Path, replaces: bool) -> None:
    """Rename a file or folder to its place; what stands there stays, unless it is empty or ``replaces``.

    Args:
        path: on the same file system as ``target``.
    """
    if is_there(target) and not replaces:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=target.parent))
        os.rename(target, aside / target.name)
        os.rename(path, target)
        remove(aside)
    else:
        os.replace(path, target) if path.is_file() or not target.exists() else _replace_link(path, target)


def _replace_link(path: Path, target: Path) -> None:
    """Put a folder where a link or a file stands."""
    remove(target)
    os.rename(path, target)
