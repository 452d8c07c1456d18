"""Pictures in all forms that a classifier takes: found in folders, read, and brought to the model's size while the one before is computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from dassl.utils import read_image
from dassl.utils.images import ImageError
from datasets.images import SUFFIXES

N_THREADS = 8  # at most, to decode; our choice: decoding releases the interpreter's lock, and more threads than this wait for the disk

Picture = str | Path | Image.Image | Tensor
"""A path, a PIL picture, or a tensor ``[3, R, R]`` as the classifier's transform gives it."""


@dataclass(frozen=True)
class UnreadablePicture:
    """A file that is no picture, or a damaged one.

    Args:
        source: its path.
        reason: why it cannot be read.
    """

    source: str
    reason: str


def find_pictures(path: str | Path) -> list[Path]:
    """The file itself, or all pictures in a folder and the folders below it, in sorted order.

    Hidden files and files with other endings than a picture's are passed over; links to folders are not followed.

    Raises:
        FileNotFoundError: there is no such file or folder, or no picture in it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no picture or folder at {path}; a path is relative to {os.getcwd()}")
    found = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(files) if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
    if not found:
        raise FileNotFoundError(f"no picture in the folder {path}; files that count end in {', '.join(sorted(SUFFIXES))}")
    return found


def source_of(picture: Picture) -> str | None:
    """The path of a picture, if it has one."""
    return str(picture) if isinstance(picture, (str, Path)) else None


def read_picture(path: str | Path) -> Image.Image | UnreadablePicture:
    """The picture in RGB as training reads it, or why it cannot be read."""
    path = Path(path).expanduser()
    if not path.is_file():
        return UnreadablePicture(str(path), "there is no such file")
    try:
        return read_image(str(path))
    except (ImageError, Image.DecompressionBombError) as error:
        return UnreadablePicture(str(path), str(error))


def prepared_batches(
    pictures: Iterable[Picture], prepare: Callable[[Picture], Any], batch_size: int
) -> Iterator[Sequence[tuple[Picture, Any]]]:
    """Batches of pictures, each with what ``prepare`` made of it, in order; the next batch is prepared by threads while one is used.

    Args:
        batch_size: pictures a batch, at least 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1 picture is computed at a time")
    remaining = iter(pictures)
    with ThreadPoolExecutor(min(N_THREADS, os.cpu_count() or 1)) as pool:

        def begin() -> list:
            return [(picture, pool.submit(prepare, picture)) for picture in islice(remaining, batch_size)]

        ahead = begin()
        while ahead:
            present, ahead = ahead, begin()
            yield [(picture, future.result()) for picture, future in present]
