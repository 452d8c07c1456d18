"""Images on disk: listing them, and finding those that are missing."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dassl.utils import ImageError, read_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""Endings, in lower case, of the files that count as images where a folder is listed."""


def list_images(folder: Path) -> list[str]:
    """Names of the images in `folder`, sorted, without hidden files."""
    names = (name for name in os.listdir(folder) if not name.startswith("."))
    return sorted(name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def contents(folder: Path) -> str:
    """The first names in `folder`, for a message."""
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "nothing"


def missing_images(paths: Iterable[str], image_folder: Path) -> list[str]:
    """Those of `paths` that are not in `image_folder`; lists each folder once, which is quick on any disk."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            is_there = (image_folder / folder).is_dir()
            listed[folder] = set(os.listdir(image_folder / folder)) if is_there else set()
        if name not in listed[folder]:
            missing.append(path)
    return missing


def unreadable(paths: Sequence[Path]) -> dict[Path, str]:
    """The images that cannot be decoded -> why."""

    def reason(path: Path) -> str:
        try:
            read_image(str(path))
        except ImageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:  # our choice
        reasons = pool.map(reason, paths)
        return {path: why for path, why in zip(paths, reasons, strict=True) if why}
