"""Decoding and resizing done once: the pixels of a list of pictures, kept on disk as PIL gave them.

A pack is one file for one list of pictures: how many, their sizes, and a row each, a checksum and the RGB pixels. Its name is a digest of all that the
pixels depend on, so that a picture that changes makes another pack. Rows are written by whoever reads a picture first, at places that follow from the
sizes: two runs write the same bytes to the same place, and need no lock. A row that is torn or damaged is decoded again. That is a guard against damage, not
against somebody who writes other pixels with a checksum that fits: who may write to the folder is trusted as who may write to the pictures.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import time
import weakref
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import PIL
import torchvision
import torchvision.transforms as T
from PIL import Image, features

from dassl.utils import read_image
from dassl.utils.images import picture_size

from .cache_folder import IN_USE_SECONDS, CacheFolder

MAX_PICTURES = 60_000
"""Longest list that is kept; our choice: above every test list of the benchmarks (the largest, ImageNet-Sketch, has 50,889), below all of ImageNet's
training pictures, whose pixels would take 700 GB."""

_MAGIC = b"pictures-1\0\0\0\0\0\0"
_CHECKSUM_BYTES = 4
_FIXED_STEPS = (T.Resize, T.CenterCrop)  # steps on pictures that draw nothing at random, and whose `repr` says all that they depend on
_MAX_SIDE = 2**20  # pixels; our choice: far above any picture, and products of two stay within 64 bits
_N_THREADS = 8  # our choice: hides the latency of a disk while files are looked at and sizes are read
_N_AT_ONCE = 256  # files that a thread looks at in one go; our choice: handing over costs more than a look at a local disk
_MARK_SECONDS = IN_USE_SECONDS / 4  # between two marks of a pack as used; our choice: well within the time that a mark holds

MANY_PICTURES = 10_000
"""A line is printed before so many are looked at for the first time; our choice: ten seconds on a network folder that answers in 8 ms."""

_PLAIN_INFO = frozenset(
    {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "adobe", "adobe_transform", "progressive", "progression"}
)
"""Entries of `Image.info` that a transform of somebody's own has no use for; with others, such as EXIF, which is not kept, it may do otherwise."""

Stamp = tuple[int, int]
"""A file's size in bytes and the time of its last change in nanoseconds: what changes when the file does."""


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a file; None if it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)  # a copy or an archive may bring an older file's time of change


def stamps_of(paths: Sequence[str]) -> list[Stamp | None]:
    """The stamp of each file, as `stamp_of` gives it; several are looked at at a time."""
    if len(paths) >= MANY_PICTURES:
        _say_what_takes_time(len(paths), paths[0])
    parts = [paths[start : start + _N_AT_ONCE] for start in range(0, len(paths), _N_AT_ONCE)]
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return [stamp for stamps in pool.map(lambda part: [stamp_of(path) for path in part], parts) for stamp in stamps]


@functools.cache
def _say_what_takes_time(n_pictures: int, first: str) -> None:
    """Once for a list; later looks find what the system remembers."""
    print(f"Looking at {n_pictures:,} pictures, whether they are those that are kept ({first}, ...)", flush=True)


def digest_of_pictures(paths: Iterable[str], stamps: Iterable[Stamp], root: str) -> str:
    """SHA-256 of a list of pictures, in their order: where they lie in the data folder `root`, and their stamps."""
    prefix = os.path.join(os.path.abspath(os.path.expanduser(root)), "") if root else ""
    digest = hashlib.sha256()
    for path, stamp in zip(paths, stamps, strict=True):
        path = os.path.abspath(path)
        name = path[len(prefix) :] if prefix and path.startswith(prefix) else path
        digest.update(repr((name, *stamp)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def digest_of_tensors(paths: Sequence[str], transform: Any, root: str) -> str | None:
    """SHA-256 of all that the tensors of a list of pictures depend on, in their order; None where they may be others the next time.

    Args:
        paths: the pictures.
        transform: what makes tensors of them; known to make the same each time are torchvision's Resize, CenterCrop, ToTensor and Normalize.
        root: the data folder.
    """
    if type(transform) is not T.Compose or any(type(step) not in (*_FIXED_STEPS, T.ToTensor, T.Normalize) for step in transform.transforms):
        return None
    stamps = [stamp for stamp in stamps_of(paths) if stamp is not None]
    if len(stamps) < len(paths):
        return None
    parts = (digest_of_pictures(paths, stamps, root), [_in_full(step) for step in transform.transforms], _decoders())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _in_full(step: Any) -> tuple[Any, ...]:
    """A step of a transform with its settings; arrays print themselves with four digits."""
    numbers = (step.mean, step.std) if isinstance(step, T.Normalize) else ()
    return repr(step), *([float(number) for number in some] for some in numbers)


def _decoders() -> tuple[str | None, ...]:
    """What decodes and resizes: pixels may differ between versions in the last bit. Of the formats that lose nothing, that of Pillow itself says all."""
    known = {*features.modules, *features.codecs, *features.features}  # an older Pillow knows no AVIF
    lossy = ("jpg", "libjpeg_turbo", "mozjpeg", "jpg_2000", "libtiff", "webp", "avif")
    versions = (features.version(name) if name in known else None for name in lossy)
    return (PIL.__version__, *versions, torchvision.__version__, platform.machine())


@dataclass(frozen=True)
class KeptSteps:
    """What of a transform is done before the pixels are kept.

    Args:
        steps: the leading steps whose results are kept; none keeps the decoded picture.
        size: width and height of their result; None without steps: each picture's own.
        is_strict: whether what comes after may ask a picture for more than its pixels, so that those which hold more are not kept.
    """

    steps: tuple[Any, ...] = ()
    size: tuple[int, int] | None = None
    is_strict: bool = False

    @property
    def name(self) -> str:
        """The steps in words, which say all that they depend on."""
        return f"{' '.join(map(repr, self.steps))}{' strict' if self.is_strict else ''}"


def split_transform(transform: Any) -> tuple[KeptSteps, Any]:
    """A transform in two: the leading steps that give the same picture of a fixed size each time, and a transform of the others.

    These are torchvision's Resize and CenterCrop at the head of a Compose; of anything else nothing is kept but the decoded picture.
    """
    if type(transform) is not T.Compose:
        return KeptSteps(is_strict=not sees_pixels_alone(transform)), transform
    steps, n_kept, size = transform.transforms, 0, None
    for n_steps, step in enumerate(steps, start=1):
        if type(step) not in _FIXED_STEPS:
            break
        sides = (step.size,) if isinstance(step.size, int) else tuple(step.size)
        if len(sides) == 2:
            n_kept, size = n_steps, (sides[1], sides[0])
    rest = T.Compose(steps[n_kept:])
    return KeptSteps(tuple(steps[:n_kept]), size, not sees_pixels_alone(rest)), rest


def sees_pixels_alone(transform: Any) -> bool:
    """Whether a transform is torchvision's or the engine's, none of which looks at anything but pixels; a function of somebody's own may."""
    kind = type(transform)
    is_known = kind.__module__.startswith(("torchvision.transforms.", "dassl.data.transforms.")) and kind.__name__ != "Lambda"
    parts = getattr(transform, "transforms", ())
    return is_known and all(sees_pixels_alone(part) for part in parts)


class PicturePack:
    """The rows of one list in an open file.

    Args:
        handle: file descriptor, closed with this object.
        is_writable: whether rows may be added.
        sizes: int64 [n, 2], width and height of each picture; 0 for one that is not kept.
    """

    def __init__(self, handle: int, is_writable: bool, sizes: np.ndarray) -> None:
        self._handle, self._is_writable, self._sizes = handle, is_writable, sizes
        self._offsets = row_offsets(sizes)
        weakref.finalize(self, os.close, handle).atexit = False

    def read(self, row: int) -> Image.Image | None:
        """The picture of a row; None if it is not there whole.

        Raises:
            OSError: the file cannot be read.
        """
        n_bytes = int(self._offsets[row + 1] - self._offsets[row])
        if n_bytes == 0:
            return None
        data = os.pread(self._handle, n_bytes, int(self._offsets[row]))
        pixels = memoryview(data)[_CHECKSUM_BYTES:]
        if len(data) != n_bytes or data[:_CHECKSUM_BYTES] != _checksum(pixels):
            return None
        return Image.frombytes("RGB", self._size_of(row), pixels)

    def write(self, row: int, picture: Image.Image) -> None:
        """Keep the picture of a row, if it is of the size that was expected.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._is_writable or picture.mode != "RGB" or picture.size != self._size_of(row):
            return
        pixels = picture.tobytes()
        data = _checksum(pixels) + pixels
        if os.pwrite(self._handle, data, int(self._offsets[row])) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _size_of(self, row: int) -> tuple[int, int]:
        return int(self._sizes[row, 0]), int(self._sizes[row, 1])


class _KnownList(NamedTuple):
    """The name of a list's pack, and of each picture, in the pack's order, its row and its stamp."""

    name: str
    rows: dict[str, tuple[int, Stamp]]


class PictureCache:
    """The pixels of one list of pictures, in a pack for each way of keeping them.

    Args:
        folder: where the packs are; None reads every picture anew.
        paths: the pictures.
        root: the data folder, in which the packs follow the pictures when it is moved.
    """

    def __init__(self, folder: CacheFolder | None, paths: Iterable[str], root: str) -> None:
        self._folder, self._root = folder, root
        self._paths = sorted(set(paths)) if folder is not None else []
        self._lists: dict[str, _KnownList | None] = {}  # of each way; None where nothing is kept
        self._packs: dict[str, PicturePack | None] = {}
        self._marked: dict[str, float] = {}  # when it was last told that a pack is used

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packs": {}}  # a spawned process opens the files itself, and looks at no picture to know which

    def open(self, kept: KeptSteps) -> None:
        """Open the pack for these steps, or make it; loading processes that are forked afterwards share it. Tells it that the pack is used."""
        if self._folder is None or not self._folder.is_on:
            return
        if kept.name not in self._packs:
            self._packs[kept.name] = self._open(kept)
        self._mark_used(kept)

    def picture(self, path: str, kept: KeptSteps) -> Image.Image:
        """The picture at `path` as RGB after `kept.steps`, as if there were no cache.

        Raises:
            ImageError: it is missing or cannot be decoded, see `read_image`.
        """
        folder = self._folder
        if folder is None or not folder.is_on:
            return _decode(path, kept)
        if kept.name not in self._packs:
            self.open(kept)
        pack, known = self._packs.get(kept.name), self._lists.get(kept.name)
        row, stamp = (0, None) if known is None else known.rows.get(path, (0, None))
        if pack is None or stamp is None or stamp_of(path) != stamp:
            return _decode(path, kept)
        if time.monotonic() > self._marked[kept.name] + _MARK_SECONDS:
            self._mark_used(kept)
        try:
            found = pack.read(row)
        except OSError as error:
            folder.give_up(error)
            found = None
        if found is not None:
            return found
        picture = read_image(path)
        is_plain = not kept.is_strict or picture.info.keys() <= _PLAIN_INFO
        picture = _after(picture, kept)
        if is_plain and stamp_of(path) == stamp and folder.is_on:
            try:
                pack.write(row, picture)
            except OSError as error:
                folder.give_up(error)
        return picture

    def _mark_used(self, kept: KeptSteps) -> None:
        known = self._lists[kept.name]
        if self._folder is not None and known is not None:
            self._folder.mark_used(known.name)
        self._marked[kept.name] = time.monotonic()

    def _open(self, kept: KeptSteps) -> PicturePack | None:
        """The pack for these steps; what is found out about the list is kept."""
        if kept.name not in self._lists:
            self._lists[kept.name] = self._look(kept)
        known = self._lists[kept.name]
        if known is None:
            return None
        pack = self._read_pack(known.name, kept, len(known.rows)) or self._make_pack(known.name, kept, list(known.rows))
        if pack is None:
            self._lists[kept.name] = None
        return pack

    def _look(self, kept: KeptSteps) -> _KnownList | None:
        """Look at each picture; None, and a note, for a list too long."""
        if len(self._paths) > MAX_PICTURES:
            print(f"NOTE: {len(self._paths):,} pictures are decoded each time they are read; lists of up to {MAX_PICTURES:,} are kept")
            return None
        looked_at = zip(self._paths, stamps_of(self._paths), strict=True)
        stamps = {path: stamp for path, stamp in looked_at if stamp is not None}
        of_list = digest_of_pictures(stamps, stamps.values(), self._root)
        name = hashlib.sha256(repr((of_list, kept.name, _MAGIC, _decoders())).encode()).hexdigest()[:40]
        return _KnownList(name, {path: (row, stamp) for row, (path, stamp) in enumerate(stamps.items())})

    def _read_pack(self, name: str, kept: KeptSteps, n_pictures: int) -> PicturePack | None:
        """The pack of that name, if there is one and its sizes are whole."""
        assert self._folder is not None
        opened = self._folder.open(name)
        if opened is None:
            return None
        handle, is_writable = opened
        try:
            sizes = _read_sizes(handle, n_pictures)
        except OSError:
            sizes = None
        if sizes is None or (kept.size is not None and bool((sizes != kept.size).any())):
            os.close(handle)
            return None
        return PicturePack(handle, is_writable, sizes)

    def _make_pack(self, name: str, kept: KeptSteps, paths: Sequence[str]) -> PicturePack | None:
        """A new pack without rows; None, and a note, where there is no room for it."""
        assert self._folder is not None
        if kept.size is not None:
            sizes = np.tile(np.array(kept.size, dtype=np.int64), (len(paths), 1))
        else:
            with ThreadPoolExecutor(_N_THREADS) as pool:
                sizes = np.array(list(pool.map(picture_size, paths)), dtype=np.int64).reshape(-1, 2)
        n_bytes = int(row_offsets(sizes)[-1])
        what = f"the pixels of {len(paths):,} pictures"
        if not self._folder.create(name, n_bytes, lambda file: _write_sizes(file, sizes), what):
            return None
        return self._read_pack(name, kept, len(paths))


def row_offsets(sizes: np.ndarray) -> np.ndarray:
    """Where each row of a pack begins, and where the last ends, int64 [n + 1], from the pictures' sizes [n, 2]; one of size 0 has no row."""
    pixels = 3 * sizes.prod(axis=1)
    lengths = np.where(pixels > 0, pixels + _CHECKSUM_BYTES, 0)
    first = len(_MAGIC) + 8 * len(sizes) + _CHECKSUM_BYTES
    return first + np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _write_sizes(file: IO[bytes], sizes: np.ndarray) -> None:
    data = sizes.astype("<u4").tobytes()
    file.write(_MAGIC + data + _checksum(data))


def _read_sizes(handle: int, n_pictures: int) -> np.ndarray | None:
    """The sizes at the head of a pack; None unless they are whole and the file is as long as they say."""
    n_bytes = 8 * n_pictures
    head = os.pread(handle, len(_MAGIC) + n_bytes + _CHECKSUM_BYTES, 0)
    data = head[len(_MAGIC) : len(_MAGIC) + n_bytes]
    if head != _MAGIC + data + _checksum(data) or len(data) != n_bytes:
        return None
    sizes = np.frombuffer(data, dtype="<u4").reshape(-1, 2).astype(np.int64)
    is_usable = bool((sizes < _MAX_SIDE).all()) and os.fstat(handle).st_size == int(row_offsets(sizes)[-1])
    return sizes if is_usable else None


def _checksum(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def _decode(path: str, kept: KeptSteps) -> Image.Image:
    return _after(read_image(path), kept)


def _after(picture: Image.Image, kept: KeptSteps) -> Image.Image:
    for step in kept.steps:
        picture = step(picture)
    return picture
