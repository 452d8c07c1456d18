"""Unpacking archives that come from the internet: nothing leaves the folder, nothing but files and folders comes out, and not without bound."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from clip.download import DiskSpaceError, check_space

from .errors import ArchiveError

MAX_ENTRIES = 2_000_000  # our choice: above every dataset's number of files (ImageNet's 1.3 million lie in archives of 1,300)
MAX_RATIO = 100  # our choice: pictures do not shrink; the lists of SUN397's Partitions.zip, which are text, do so about tenfold
FREE_BYTES = 2**28  # unpacked size that no ratio is asked of, for small archives
BLOCK = 2**20

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    KeyError,
    RecursionError,  # a tar of thousands of headers that each announce the next, which tarfile follows by recursion
    gzip.BadGzipFile,
)


def extract(archive: Path, folder: Path, is_verified: bool = False) -> None:
    """Unpack a zip or a tar (plain, gzip, bzip2 or xz; its content decides, not its name) into an empty folder.

    Files that macOS adds (``__MACOSX``, ``._x``, ``.DS_Store``) are passed over. Modes and owners of the archive are not taken.

    Args:
        archive: the file.
        folder: an existing folder, empty; after an error, what is in it is of no use.
        is_verified: whether a hash has shown that the archive is whole; otherwise a tar without its end mark is taken for cut short.

    Raises:
        ArchiveError: it is no archive, damaged, holds a path that leaves the folder, a link or a device, or unpacks to more than the bounds.
        DiskSpaceError: the disk is full or would be.
    """
    budget = _Budget(archive)
    try:
        if _head(archive).startswith((b"PK\3\4", b"PK\5\6")):
            _extract_zip(archive, folder, budget)
        else:
            _extract_tar(archive, folder, budget, is_verified)
    except _DAMAGED as e:
        raise ArchiveError(f"{archive.name} is damaged or no archive ({str(e) or type(e).__name__})") from e
    except OSError as e:
        if isinstance(e, DiskSpaceError):
            raise
        if e.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            raise DiskSpaceError(f"the disk of {folder.parent} is full; {archive} is whole and kept: make room and run again") from e
        raise ArchiveError(f"{archive.name} cannot be unpacked into {folder.parent} ({e})") from e


class _Budget:
    """How much may still come out of an archive."""

    def __init__(self, archive: Path) -> None:
        self.name, self.entries = archive.name, 0
        self.n_bytes, self.most = 0, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size)

    def entry(self) -> None:
        """Count an entry."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise ArchiveError(f"{self.name} holds more than {MAX_ENTRIES:,} entries, which no dataset here does: it was refused")

    def spend(self, n_bytes: int) -> None:
        """Count bytes, before they are written."""
        self.n_bytes += n_bytes
        if self.n_bytes > self.most:
            raise ArchiveError(
                f"{self.name} unpacks to more than {self.most:,} bytes, {MAX_RATIO} times its size, which pictures never do: it was refused as a bomb"
            )


def _extract_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as zipped:
        infos = zipped.infolist()
        declared = sum(info.file_size for info in infos)
        if declared > budget.most:
            budget.spend(declared)
        check_space(folder, declared, f"unpacking {archive.name}")
        for info in infos:
            budget.entry()
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise ArchiveError(f"{archive.name} holds {info.filename!r}, which is a link or a device: it was refused")
            if info.flag_bits & 1:
                raise ArchiveError(f"{archive.name} asks for a password")
            target = place(archive.name, info.filename, folder)
            if target is not None and info.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif target is not None:
                with zipped.open(info) as source:
                    _write(source, target, budget)


def _extract_tar(archive: Path, folder: Path, budget: _Budget, is_verified: bool) -> None:
    check_space(folder, archive.stat().st_size, f"unpacking {archive.name}")
    with _plain_tar(archive) as stream:
        bounded = _Bounded(stream, budget.most + BLOCK, budget)
        with tarfile.open(fileobj=bounded, mode="r|") as tar:
            for member in tar:
                budget.entry()
                if not (member.isdir() or member.isreg()) or member.issparse():
                    raise ArchiveError(f"{archive.name} holds {member.name!r}, which is a link or a device: it was refused")
                target = place(archive.name, member.name, folder)
                if target is not None and member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif target is not None:
                    source = tar.extractfile(member)
                    assert source is not None  # of a regular file
                    _write(source, target, budget)
        while bounded.read(BLOCK):  # to the end, where the compressed form has its checksum
            pass
    if bounded.tail.strip(b"\0") and not is_verified:
        raise ArchiveError(f"{archive.name} ends without the end mark of a tar: it was cut short")


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than a number of bytes, and remembers the last 512, the length of a tar's blocks."""

    def __init__(self, stream: IO[bytes], most: int, budget: _Budget) -> None:
        self.stream, self.left, self.budget, self.tail = stream, most, budget, b""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
        size = BLOCK if size < 0 else min(size, BLOCK)
        block = self.stream.read(size)
        self.left -= len(block)
        if self.left < 0:
            self.budget.spend(self.budget.most + 1)
        self.tail = (self.tail + block)[-512:]
        return block


def _head(archive: Path) -> bytes:
    with archive.open("rb") as file:
        return file.read(6)


@contextmanager
def _plain_tar(archive: Path) -> Iterator[Any]:
    """The archive without its compression, by its first bytes."""
    openers: dict[bytes, Callable[[Path, Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    opener = next((o for magic, o in openers.items() if _head(archive).startswith(magic)), None)
    with opener(archive, "rb") if opener else archive.open("rb") as stream:
        yield stream


def place(archive: str, name: str, folder: Path) -> Path | None:
    """Where an entry goes; None for what macOS adds.

    Raises:
        ArchiveError: its path leaves the folder.
    """
    parts = PureWindowsPath(name).parts  # which splits at both kinds of slash, and knows drives
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    if not name or "\0" in name or windows.drive or windows.root or posix.is_absolute() or ".." in parts:
        raise ArchiveError(f"{archive} holds the path {name!r}, which leaves the folder: it was refused")
    if any(part == "__MACOSX" or part == ".DS_Store" or part.startswith("._") for part in parts):
        return None
    return folder.joinpath(*parts)


def _write(source: IO[bytes], target: Path, budget: _Budget) -> None:
    """Write one file; the folder is our own and holds no links, so that the path is where it seems to be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := source.read(BLOCK):
            budget.spend(len(block))
            file.write(block)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
