"""ImageNet's own archives: a tar of a thousand tars for training, and validation pictures that the devkit says the classes of."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .arrange import put, unpacked
from .errors import ArchiveError, PrepareError
from .extract import extract

DEVKIT = "devkit"
"""Folder of the devkit's lists in ImageNet's folder."""

VAL = "images/val"
"""The validation pictures' place in ImageNet's folder."""

GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


def arrange_train(archive: Path, folder: Path, is_verified: bool, replaces: bool) -> None:
    """Unpack ILSVRC2012_img_train.tar into images/train, a folder a class.

    Raises:
        ArchiveError: it, or one of the archives in it, is damaged or holds something else.
    """
    with unpacked(archive, folder, is_verified) as tree:
        inner = sorted(tree.iterdir())
        strange = [path.name for path in inner if not re.fullmatch(r"n\d{8}\.tar", path.name)]
        if strange or not inner:
            raise ArchiveError(f"{archive.name} should hold one n01440764.tar a class; it holds {strange[0] if strange else 'nothing'}")
        train = tree / "train"
        for path in inner:
            class_folder = train / path.stem
            class_folder.mkdir(parents=True)
            extract(path, class_folder, is_verified)
            path.unlink()  # so that the disk need not hold everything twice
        put(train, folder / "images" / "train", replaces)


def arrange_val(archive: Path, folder: Path, is_verified: bool, replaces: bool) -> None:
    """Unpack ILSVRC2012_img_val.tar into images/val, sorted into class folders.

    Raises:
        ArchiveError: it is damaged or does not hold the pictures that the devkit lists.
        PrepareError: the devkit is not there.
    """
    wnids = validation_wnids(folder / DEVKIT)
    with unpacked(archive, folder, is_verified) as tree:
        pictures = tree / "val"
        if not pictures.is_dir():
            pictures = tree
        sort_validation(pictures, wnids, tree / "sorted")
        put(tree / "sorted", folder / VAL, replaces)


def is_unsorted(folder: Path) -> bool:
    """Whether validation pictures lie in ImageNet's folder without class folders, as the official archive has them."""
    return any((folder / VAL).glob("ILSVRC2012_val_*.JPEG"))


def sort_in_place(folder: Path) -> None:
    """Sort such pictures; an interrupted sorting goes on.

    Raises:
        PrepareError: the devkit is not there, or pictures are missing.
    """
    print(f"  Sorting the pictures of {folder / VAL} into class folders", flush=True)
    sort_validation(folder / VAL, validation_wnids(folder / DEVKIT), folder / VAL)


def sort_validation(pictures: Path, wnids: list[str], target: Path) -> None:
    """Move ILSVRC2012_val_00000001.JPEG … from ``pictures`` into class folders in ``target``, all or, if some are missing, none.

    Args:
        pictures: the folder that they lie in.
        wnids: the class of each, in the order of their numbers.
        target: where the class folders go; it may be ``pictures`` itself.

    Raises:
        ArchiveError: pictures are missing.
    """
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(wnids) + 1)]
    there = set(os.listdir(pictures))
    moves = [(name, wnid) for name, wnid in zip(names, wnids, strict=True) if not (target / wnid / name).is_file()]
    absent = [name for name, _ in moves if name not in there]
    if absent:
        raise ArchiveError(f"{len(absent):,} of {len(names):,} validation pictures are not in {pictures.name}, {absent[0]} the first")
    for wnid in set(wnids):
        (target / wnid).mkdir(parents=True, exist_ok=True)
    for name, wnid in moves:
        os.rename(pictures / name, target / wnid / name)


def validation_wnids(devkit: Path) -> list[str]:
    """The class of each validation picture, in the order of their numbers, from the devkit's lists.

    Raises:
        PrepareError: the lists are not there or do not fit each other.
    """
    from datasets.make_split import read_mat
    from datasets.splits import read_lines

    for name in (META, GROUND_TRUTH):
        if not (devkit / name).is_file():
            raise PrepareError(
                f"the classes of the validation pictures are in {name}, which is not in {devkit}: put ILSVRC2012_devkit_t12.tar.gz into the folder of --from"
            )
    synsets = read_mat(devkit / META, "ImageNet").get("synsets", ())
    try:
        wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
        numbers = [int(line) for line in read_lines(devkit / GROUND_TRUTH, "ImageNet")]
        return [wnids[number] for number in numbers]
    except (KeyError, TypeError, ValueError) as e:
        raise PrepareError(f"{devkit / GROUND_TRUTH} does not fit {devkit / META} ({type(e).__name__}: {e}): fetch the devkit again") from e
