"""Own images as class folders, alone or inside train, val and test folders."""

import os
from pathlib import Path
from typing import NamedTuple

from .images import SUFFIXES, is_image, list_folders, list_images

PART_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a folder, or entry in a list, in lower case -> part of the split."""

NO_CLASSES = frozenset({"split_fewshot", "__MACOSX"})  # made by earlier versions, and by macOS in archives

EXPECTED = (
    "Expected are class folders, such as robin/1.jpg and wren/1.jpg; or these inside train, test and (if "
    "any) val; or a list, DATASET.FOLDER_LIST (docs/OWN_IMAGES.md)."
)


class OwnImage(NamedTuple):
    """One image: its path relative to the folder, its class, and train, val, test or "" (not stated)."""

    path: str
    class_name: str
    part: str = ""


def read_class_folders(folder: Path) -> tuple[list[OwnImage], list[str]]:
    """The images of a folder of class folders in sorted order, and the paths that were left out.

    Images may lie in folders below their class's. Hidden files and folders are passed over.
    """
    images: list[OwnImage] = []
    left_out: list[str] = []
    for top, part in _part_folders(folder).items():
        left_out += [str(Path(top, name)) for name in list_images(folder / top)]
        for name in _class_folders(folder / top):
            found, others = images_below(folder, folder / top / name)
            if not found:
                raise ValueError(
                    f"{folder / top / name} holds no images, which end in {', '.join(SUFFIXES)}."
                )
            images += [OwnImage(path, name, part) for path in found]
            left_out += others
    if not images:
        raise ValueError(f"{folder} holds no class folders with images. {EXPECTED}")
    return images, left_out


def _class_folders(folder: Path) -> list[str]:
    return [name for name in list_folders(folder) if name not in NO_CLASSES]


def _part_folders(folder: Path) -> dict[str, str]:
    """Folder of class folders -> part of the split; {"": ""} if `folder` itself holds the class folders."""
    names = _class_folders(folder)
    parts = {name: PART_OF[name.lower()] for name in names if name.lower() in PART_OF}
    stated = sorted(parts.values())
    if len(parts) == len(names) and stated in (["test", "train"], ["test", "train", "val"]):
        return parts
    if len(parts) == len(names) and stated == ["train", "val"]:
        # As in ImageNet, whose val is what everyone tests on.
        print(f"{folder} has no test folder: the images of val are the test images, and val is empty.")
        return {name: "test" if part == "val" else part for name, part in parts.items()}
    if parts and (len(parts) == len(names) or {"train", "test"} <= set(stated)):
        found = ", ".join(names)
        raise ValueError(f"{folder} holds {found:.200}: classes, or parts of a split? {EXPECTED}")
    return {"": ""}


def images_below(folder: Path, start: Path) -> tuple[list[str], list[str]]:
    """The images in and below `start`, relative to `folder` and sorted; and what else is there."""
    images: list[str] = []
    others: list[str] = []
    for parent, folders, files in os.walk(start):
        at = Path(parent).relative_to(folder).as_posix()
        folders[:] = [name for name in folders if not name.startswith(".")]
        others += [f"{at}/{name}" for name in folders if os.path.islink(f"{parent}/{name}")]  # not followed
        for name in files:
            if not name.startswith("."):
                (images if is_image(name) else others).append(f"{at}/{name}")
    return sorted(images), others
