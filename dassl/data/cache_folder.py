"""A bounded folder of files that can be made again at any time, shared by runs without a lock.

Whoever reads a file of it checks what it reads against damage; nothing a run computes depends on what runs leave there, and a folder that cannot be used is a
note, not an error. Checks do not hold against somebody who writes other pixels or features there with checksums that fit: as with the data themselves, who may
write to the folder is trusted.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import shutil
import stat
import time
from collections.abc import Callable
from typing import IO, Any

from dassl.utils.files import UNFINISHED, replacement

FOLDER_NAME = ".picture_cache"
ENDING = ".cache"

IN_USE_SECONDS = 3600
"""A file that a run has read within this time is not removed to make room; our choice: longer than most epochs and tests, so that runs do
not take each other's files away."""

SHARE_OF_FREE = 0.5
"""The part of the free disk that a new file may take at most, where what other files of the folder are still to take counts as taken; our choice: runs write
beside it."""


class _SharedFlag:
    """A flag that a process shares with those it forks; one that is unpickled, as in a spawned process, is its own."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def __bool__(self) -> bool:
        return self._byte[0] != 0

    def set(self) -> None:
        self._byte[0] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return _SharedFlag, ()


class _NoRoomError(Exception):
    """Why a file is not kept."""


class CacheFolder:
    """A folder of files named by what they were made from, of a bounded size together.

    Args:
        path: the folder; it is made with the first file.
        max_bytes: bound of the sizes of its files; 0 makes and reads none.

    Attributes: `path`.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        self._has_failed = _SharedFlag()

    def __str__(self) -> str:
        return f"{self.path} (at most {_size(self._max_bytes)})"

    @property
    def is_on(self) -> bool:
        """Whether it is to be used: it is allowed room, nothing in it has failed, and the system reads and writes at given offsets."""
        return self._max_bytes > 0 and hasattr(os, "pread") and not self._has_failed

    def open(self, name: str) -> tuple[int, bool] | None:
        """An open file descriptor, and whether it may be written to; None where there is no such ordinary file. It counts as used now."""
        path = self._path_of(name)
        for flags in (os.O_RDWR, os.O_RDONLY):
            try:
                handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            if stat.S_ISREG(os.fstat(handle).st_mode):
                self.mark_used(name)
                return handle, flags == os.O_RDWR
            os.close(handle)
        return None

    def mark_used(self, name: str) -> None:
        """Let the file be removed last."""
        with contextlib.suppress(OSError):  # gone, or somebody else's
            os.utime(self._path_of(name))

    def create(self, name: str, n_bytes: int, write: Callable[[IO[bytes]], Any], what: str) -> bool:
        """Make a file, whole or not at all, in place of one of that name; a note says where that cannot be.

        Args:
            name: its name in the folder.
            n_bytes: its size; files that were not used for longest are removed to make room.
            write: gets the open binary file, which is of that size and all zero.
            what: what it holds, for the note.

        Returns:
            whether it is there now.
        """
        try:
            os.makedirs(self.path, exist_ok=True)
            self._make_room(name, n_bytes)
            with replacement(self._path_of(name)) as file:
                file.truncate(n_bytes)
                self._check_bound(name, n_bytes)  # again, now that others see that this one is coming
                write(file)
        except _NoRoomError as error:
            _say(f"{what} are not kept in {self.path}: {error}")
            return False
        except OSError as error:
            self.give_up(error)
            return False
        return True

    def keep(self, name: str, data: bytes, what: str) -> None:
        """Keep `data`, which `find` gives back; `what` it is, for a note where there is no room."""
        whole = hashlib.sha256(data).digest() + data
        if self.is_on:
            self.create(name, len(whole), lambda file: file.write(whole), what)

    def find(self, name: str, n_bytes: int) -> bytes | None:
        """The `n_bytes` that `keep` was given; None where they are not there whole."""
        opened = self.open(name) if self.is_on else None
        if opened is None:
            return None
        with open(opened[0], "rb") as file, contextlib.suppress(OSError):
            if os.fstat(file.fileno()).st_size == n_bytes + hashlib.sha256().digest_size:
                checksum, data = file.read(hashlib.sha256().digest_size), file.read()
                return data if hashlib.sha256(data).digest() == checksum else None
        return None

    def give_up(self, error: OSError) -> None:
        """Use it no more in this process, nor in those it shares the flag with, and say so once."""
        if not self._has_failed:
            self._has_failed.set()
            _say(f"the run goes on without the cache {self.path}: {error.strerror or error}")

    def _path_of(self, name: str) -> str:
        return os.path.join(self.path, name + ENDING)

    def _make_room(self, name: str, n_bytes: int) -> None:
        """Remove files, those unused for longest first, until `n_bytes` more are allowed; `_NoRoomError` says why they are not."""
        needed = f"{_size(n_bytes)} are needed"
        if n_bytes > self._max_bytes:
            raise _NoRoomError(f"{needed}, and {_size(self._max_bytes)} allowed (DATALOADER.CACHE_GIB)")
        files, coming, promised = self._files(name)
        total = coming + sum(size for _, size, _ in files)
        unused = sorted(file for file in files if file[0] <= time.time() - IN_USE_SECONDS)
        n_removed = n_freed = 0
        while total - n_freed + n_bytes > self._max_bytes and n_removed < len(unused):
            n_freed += unused[n_removed][1]
            n_removed += 1
        if total - n_freed + n_bytes > self._max_bytes:
            raise _NoRoomError(
                f"{needed}, and of {_size(self._max_bytes)} (DATALOADER.CACHE_GIB) {_size(total - n_freed)} were in use within the last hour"
            )
        free = shutil.disk_usage(self.path).free - promised + n_freed  # removal frees what is written of a file, and what is promised to it
        if n_bytes > SHARE_OF_FREE * free:
            raise _NoRoomError(
                f"{needed}, more than half of the {_size(max(0, free))} that are free there and not promised to other kept files"
            )
        for _, size, path in unused:
            if total + n_bytes <= self._max_bytes:
                break
            total -= size if _removed(path) else 0
        self._check_bound(name, n_bytes)

    def _check_bound(self, name: str, n_bytes: int) -> None:
        """`_NoRoomError` if the file `name` of `n_bytes` is too much beside what is there and coming; of two that look at once, both may be."""
        files, coming, _ = self._files(name)
        total = coming + sum(size for _, size, _ in files)
        if total + n_bytes > self._max_bytes:
            raise _NoRoomError(
                f"{_size(n_bytes)} are needed, and of {_size(self._max_bytes)} (DATALOADER.CACHE_GIB) {_size(total)} are in use or cannot be removed"
            )

    def _files(self, name: str) -> tuple[list[tuple[float, int, str]], int, int]:
        """Time of last use, size in bytes and path of each file, the bytes of those that are being made under other names than `name`, and the bytes of disk
        that files are still to take. Removes what a killed run left."""
        files, coming, promised = [], 0, 0
        for entry in os.scandir(self.path):
            with contextlib.suppress(OSError):  # another run may remove it at the same time
                found = entry.stat(follow_symlinks=False)
                is_coming = entry.name.endswith(UNFINISHED)
                if is_coming and found.st_mtime < time.time() - IN_USE_SECONDS and _removed(entry.path):
                    continue
                promised += max(0, found.st_size - 512 * found.st_blocks)  # a pack is sparse until its rows are written
                if is_coming and not entry.name.startswith(f".{name}{ENDING}."):
                    coming += found.st_size
                if entry.name.endswith(ENDING):
                    files.append((found.st_mtime, found.st_size, entry.path))
        return files, coming, promised


def cache_folder_of(cfg: Any) -> CacheFolder | None:
    """The folder that DATALOADER.CACHE_DIR and CACHE_GIB ask for; None where they ask for none, or no data folder is named that it could lie in.

    The same object for the same settings, so that a failure is told once in a run.
    """
    folder, root = cfg.DATALOADER.CACHE_DIR, cfg.DATASET.ROOT
    if cfg.DATALOADER.CACHE_GIB <= 0 or not (folder or root):
        return None
    # A folder of its own wherever it lies: files of it are removed to make room.
    path = os.path.abspath(os.path.expanduser(os.path.join(folder or root, FOLDER_NAME)))
    return _cache_folder(path, int(cfg.DATALOADER.CACHE_GIB * 2**30))


@functools.cache
def _cache_folder(path: str, max_bytes: int) -> CacheFolder:
    return CacheFolder(path, max_bytes)


def _removed(path: str) -> bool:
    """Remove a file; whether it is gone. One of another user may have to stay."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.2f} GiB"


def _say(text: str) -> None:
    print(f"NOTE: {text}", flush=True)  # a loading process ends without flushing
