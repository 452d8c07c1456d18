"""Preparing datasets and weights: each file from the first source that gives it, checked, unpacked and put into its place."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clip.download import LOCKS, DiskSpaceError, DownloadError, Known, check_space, is_offline, locked

from . import imagenet
from .arrange import arrange, leftovers, put, remove_leftovers
from .errors import ArchiveError, PrepareError
from .fetch import obtain
from .sources import Dataset, File, Source, is_there

DOWNLOADS = ".downloads"
"""Folder in the data folder where archives stand until they are unpacked."""


@dataclass(frozen=True)
class Wishes:
    """How datasets are to be prepared.

    Args:
        root: the data folder.
        by_hand: a folder of files that were fetched by hand; None for none. Nothing in it is changed.
        replaces: whether what is in place already is fetched again and replaced.
        keeps: whether downloaded archives are kept after they were unpacked.
    """

    root: Path
    by_hand: Path | None = None
    replaces: bool = False
    keeps: bool = False


def missing(dataset: Dataset, root: Path) -> list[str]:
    """What has to be prepared: what is not in the data folder ``root``, and ImageNet's validation pictures if they lie there without class folders."""
    absent = dataset.missing(root)
    if dataset.name == "imagenet" and imagenet.is_unsorted(root / dataset.folder):
        absent.append(imagenet.VAL)
    return absent


def prepare(dataset: Dataset, wishes: Wishes) -> None:
    """Put a dataset into the data folder. What is there is left as it is, what is missing is fetched.

    Raises:
        PrepareError: something could not be had; the message has every source that was tried and what to do by hand.
    """
    folder = wishes.root / dataset.folder
    downloads = wishes.root / DOWNLOADS / dataset.name
    try:
        if not missing(dataset, wishes.root) and not wishes.replaces and not leftovers(folder):
            print(f"{dataset.name}: all is there, in {folder}", flush=True)
            return
        print(f"{dataset.name}: preparing {folder}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(downloads.parent / LOCKS / f"{dataset.name}.lock", dataset.name):
            remove_leftovers(folder)
            try:
                failures = _prepare_files(dataset, wishes, downloads)
            finally:
                _remove_if_empty(downloads)
    except DownloadError as e:  # no space: other files would not fit either
        raise PrepareError(f"{dataset.name}: {e}") from e
    except OSError as e:
        raise PrepareError(f"{dataset.name}: {folder} cannot be read or written: {e}") from e
    if failures:
        note = [f"  note: {dataset.note}"] if dataset.note else []
        raise PrepareError("\n".join([f"{dataset.name} is not complete.", *failures, *note]))
    print(f"{dataset.name}: all is in {folder}", flush=True)


def _prepare_files(dataset: Dataset, wishes: Wishes, downloads: Path) -> list[str]:
    """Bring every file into place; gives what is to be said of those that could not be had."""
    folder, failures = wishes.root / dataset.folder, []
    for file in dataset.files:
        if file.unless and is_there(wishes.root / file.unless):
            continue
        is_unsorted = file.kind == "imagenet_val" and imagenet.is_unsorted(folder)
        if not wishes.replaces and not is_unsorted and all(is_there(folder / place) for place in file.makes.values()):
            continue
        try:
            if is_unsorted:
                imagenet.sort_in_place(folder)
            else:
                _prepare_file(dataset, file, wishes, downloads)
        except PrepareError as e:
            if file.is_optional:
                print(f"  {file.name}, which is not needed, could not be had:\n{e}", flush=True)
            else:
                failures.append(str(e))
    return failures


def _prepare_file(dataset: Dataset, file: File, wishes: Wishes, downloads: Path) -> None:
    """One file, from the folder of files fetched by hand or the first source whose file is usable.

    Raises:
        PrepareError: there is none.
        DiskSpaceError: the disk is full or would be.
    """
    failures = []
    for told, get in _candidates(file, wishes, downloads):
        try:
            path, known = get()
            _use(path, known, dataset, file, wishes)
        except DiskSpaceError:
            raise
        except (DownloadError, PrepareError, ValueError) as e:
            reason = str(e) if str(e).startswith(told) else f"{told}: {e}"
            failures.append(f"    {reason}")
            print(f"  Failed: {reason}", flush=True)
            continue
        if not wishes.keeps:
            _remove_downloads(file, downloads)
        return
    raise PrepareError("\n".join([f"  {file.name} could not be had:", *failures, *_by_hand(dataset, file, wishes)]))


def _remove_downloads(file: File, downloads: Path) -> None:
    """Remove the downloads of a file that is in place, whole and begun."""
    for name in file.names:
        (downloads / name).unlink(missing_ok=True)
        for part in downloads.glob(f".{glob.escape(name)}.*.part*"):
            part.unlink(missing_ok=True)


def _remove_if_empty(downloads: Path) -> None:
    """Remove a dataset's folder of downloads, unless something whole or begun is in it; only for who holds the dataset's lock."""
    shutil.rmtree(downloads / LOCKS, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not empty, or nothing was fetched
        downloads.rmdir()


Candidate = tuple[str, Callable[[], tuple[Path, Known]]]


def _candidates(file: File, wishes: Wishes, downloads: Path) -> list[Candidate]:
    """Where the file may be had from, in order: what it is called in messages, and what gets it."""
    candidates: list[Candidate] = []
    if wishes.by_hand is not None:
        for name, source in file.names.items():
            path = wishes.by_hand / name
            if path.is_file():
                candidates.append((str(path), partial(_take, path, source)))
    for source in file.sources:
        if source.way == "by_hand" or (is_offline() and source.way != "project"):
            continue
        candidates.append((str(source), partial(_obtain, source, downloads)))
    return candidates


def _known(source: Source) -> Known:
    return Known(source.size, source.sha256, source.md5)


def _obtain(source: Source, downloads: Path) -> tuple[Path, Known]:
    """A source's file, fetched."""
    return obtain(source, downloads), _known(source)


def _take(path: Path, source: Source) -> tuple[Path, Known]:
    """A file fetched by hand, if it is the one that is known."""
    known = _known(source)
    print(f"  Taking {path}", flush=True)
    wrong = known.what_is_wrong(path)
    if wrong:
        raise DownloadError(f"it {wrong}; fetch it again")
    return path, known


def _use(path: Path, known: Known, dataset: Dataset, file: File, wishes: Wishes) -> None:
    """Unpack a file, or put it where it belongs; one that proves unusable is thrown away, unless it was fetched by hand.

    Raises:
        ArchiveError, ValueError: it is damaged, hostile or another file.
        PrepareError: something else is missing for it.
    """
    folder = wishes.root / dataset.folder
    is_verified = bool(known.sha256 or known.md5)
    try:
        if file.kind == "imagenet_train":
            imagenet.arrange_train(path, folder, is_verified, wishes.replaces)
        elif file.kind == "imagenet_val":
            imagenet.arrange_val(path, folder, is_verified, wishes.replaces)
        elif file.kind == "archive":
            arrange(path, folder, file.makes, file.also, is_verified, wishes.replaces)
        else:
            check_content(path, file.kind, dataset.name)
            _copy(path, folder / file.name, wishes.replaces)
    except (ArchiveError, ValueError):
        if wishes.root / DOWNLOADS in path.parents:
            path.unlink(missing_ok=True)
        raise


def check_content(path: Path, kind: str, owner: str) -> None:
    """Check that a small file is what its name says: a split file with rows, or JSON.

    Raises:
        ValueError: it is something else, such as a web page.
    """
    if kind == "split":
        from datasets.splits import read_split_file

        read_split_file(path, owner).check_classes()
    elif path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as e:
            raise ValueError(f"{owner}: {path.name} is no JSON ({e})") from e


def _copy(path: Path, target: Path, replaces: bool) -> None:
    """Copy a file, so that it is in its place whole or not at all."""
    check_space(target.parent, path.stat().st_size, f"copying {path.name}")
    beside = target.with_name(f".{target.name}.{os.getpid()}.copying")
    try:
        shutil.copyfile(path, beside)
        put(beside, target, replaces)
    finally:
        beside.unlink(missing_ok=True)


def _by_hand(dataset: Dataset, file: File, wishes: Wishes) -> list[str]:
    """What a person can do who wants a file that no source gave."""
    lines = []
    if is_offline():
        lines.append("    HF_HUB_OFFLINE is set: no source was tried. Unset it where there is a network.")
    pages = [source.address for source in file.sources if source.way == "by_hand"]
    if not pages and file.sources[0].way == "drive":
        pages = [f"https://drive.google.com/file/d/{file.sources[0].address}/view"]
    names = " or ".join(dict.fromkeys([file.name, *(source.name for source in file.sources if source.way != "project")]))
    lines.append(f"    by hand: put {names} (from {pages[0] if pages else dataset.page}) into a folder FOLDER and run")
    lines.append(f"      python tools/prepare.py {dataset.name} --root {wishes.root} --from FOLDER")
    return lines
