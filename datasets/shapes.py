"""Shapes: 2,400 rendered pictures of 64x64 in 24 classes, each a colour and a form; drawn on the spot, nothing to download.

The embedded default: it shows the whole pipeline on ordinary files, with a domain of its own that the small CLIP
`Tiny-Shapes` has not seen. `shapes_rendering.py` says what the pictures are; this file writes them into the data folder.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .shapes_rendering import SPLITS, class_names, render

LOCK_NAME = ".lock"
"""File in a temporary folder that is locked by the process that draws there."""

SETTLED_SECONDS = 60
"""Age from which a temporary folder without a holder counts as left over; our choice, far above the moment from its making to its lock."""


@DATASET_REGISTRY.register()
class Shapes(ImageDataset):
    """Shapes, written into `DATASET.ROOT`/shapes by the first run that asks for it, in about ten seconds.

    Raises:
        OSError: if the pictures are not there and the folder cannot be written.
    """

    dataset_dir = "shapes"
    image_dir = "images"
    split_file = "split_shapes.json"
    source = "a first run of the Shapes reader, which draws what is absent"
    can_make_split = False

    def prepare(self) -> None:
        """Draw what is absent: all of it on first use, or what an interrupted copy or a deletion left out."""
        n_absent = len(_absent(self.image_folder))
        if n_absent == 0 and (self.folder / self.split_file).is_file():
            return
        print(f"Shapes: writing {n_absent:,} pictures and the split file into {self.folder} (once, in about ten seconds)", flush=True)
        try:
            write_pictures(self.folder, self.image_dir, self.split_file)
        except OSError as error:
            raise OSError(
                f"Shapes: {n_absent:,} of its pictures are not in {self.folder}, and they cannot be written there ({error}).\n"
                f"  next step: make that folder writable, or set DATASET.ROOT, now {str(self.root)!r}, to a folder that is "
                "(--root; $DATA in the scripts)."
            ) from error


def picture_path(split: str, label: int, index: int) -> str:
    """Path of a picture relative to the image folder, such as "red_heart/train_07.png"."""
    return f"{class_names()[label].replace(' ', '_')}/{split}_{index:02d}.png"


def split_rows() -> dict[str, list[tuple[str, int, str]]]:
    """The split: for train, val and test the rows (path relative to the image folder, label, class name), by label."""
    names = list(enumerate(class_names()))
    return {
        split: [(picture_path(split, label, index), label, name) for label, name in names for index in range(n_each)]
        for split, n_each in SPLITS.items()
    }


def write_pictures(folder: Path, image_dir: str, split_file: str) -> None:
    """Draw what is absent from `folder`, so that it appears whole or not at all, also when several processes do so at once.

    All is drawn in a temporary folder beside `folder` and then moved. Where `folder` did not exist, one rename makes it
    appear; a process that finds another one's there uses it. Where an incomplete one stands, the pictures move in one by
    one, and then the split file, unless there is one. Every process draws the same bytes, so it does not matter whose file stays.

    Args:
        folder: the dataset's folder; it and the folders above are made where needed.
        image_dir: name of the image folder within.
        split_file: name of the split file within it.

    Raises:
        OSError: if something cannot be written; nothing half-written is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(folder)
    drawn = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    lock = FileLock(drawn / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
        # mkdtemp makes a private folder; the finished one gets the rights that any new folder gets.
        whole = drawn / folder.name
        whole.mkdir()
        _draw(whole / image_dir, _absent(folder / image_dir))
        (whole / split_file).write_text(json.dumps(split_rows()), encoding="utf-8")
        try:
            os.rename(whole, folder)
        except OSError:
            if not folder.is_dir():  # then no folder was in the way: the error is a real one
                raise
            if _absent(folder / image_dir) or not (folder / split_file).is_file():
                _move_files(whole / image_dir, folder / image_dir)
                if not (folder / split_file).is_file():
                    os.replace(whole / split_file, folder / split_file)
    finally:
        lock.release()
        shutil.rmtree(drawn, ignore_errors=True)


def _remove_left_over(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed while they drew: their locks are free.

    One that has just been made is left alone, since its process may not hold the lock yet.
    """
    for drawn in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - drawn.stat().st_mtime < SETTLED_SECONDS or not drawn.is_dir():
                continue
            with FileLock(drawn / LOCK_NAME, timeout=0):
                shutil.rmtree(drawn, ignore_errors=True)


def _absent(image_folder: Path) -> list[tuple[str, int, int]]:
    """The pictures, as (split, label, index), that are not in the image folder; one listing a class."""
    absent = []
    for label in range(len(class_names())):
        class_folder = (image_folder / picture_path("train", label, 0)).parent
        present = set(os.listdir(class_folder)) if class_folder.is_dir() else set()
        pictures = [(split, label, index) for split, n_each in SPLITS.items() for index in range(n_each)]
        absent += [picture for picture in pictures if os.path.basename(picture_path(*picture)) not in present]
    return absent


def _draw(image_folder: Path, pictures: list[tuple[str, int, int]]) -> None:
    """Write pictures, given as (split, label, index), as PNG files."""
    image_folder.mkdir(parents=True)
    for split, label, index in pictures:
        path = image_folder / picture_path(split, label, index)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(render(split, label, index)).save(path)


def _move_files(source: Path, target: Path) -> None:
    """Move every file below `source` to the same place below `target`, replacing what is there."""
    for path in [path for path in sorted(source.rglob("*")) if path.is_file()]:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
