"""ImageNet (ILSVRC 2012): 1,281,167 training pictures of 1,000 classes; its 50,000 validation pictures serve as val and test."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .images import list_folders, list_pictures
from .splits import Row, Split, read_lines, shown, wrong_with_name, wrong_with_text


@DATASET_REGISTRY.register()
class ImageNet(ImageDataset):
    """ImageNet, pictures in images/train/<wnid>/ and images/val/<wnid>/.

    The published readers list files in the order of the file system, so that their few-shot samples differ between
    machines; here the order is sorted (tests/datasets/test_readers.py pins it).
    """

    dataset_dir = "imagenet"
    image_dir = "images"
    source = "https://image-net.org/download.php"
    split_source = "https://drive.google.com/file/d/1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF/view"  # classnames.txt
    can_make_split = False
    samples_val = False
    is_listed = True

    def list_paths(self) -> list[Path]:
        """The list of class names."""
        return [self.folder / "classnames.txt"]

    def read_split(self) -> Split:
        """Rows by listing; a label is the place of the class's folder in the sorted order of images/train."""
        owner = type(self).__name__
        names = read_class_names(self.folder / "classnames.txt", owner)
        for part in ("train", "val"):
            if not (self.image_folder / part).is_dir():
                raise FileNotFoundError(
                    f"{owner}: the folder {self.image_folder / part} is missing; expected are train/ and val/ in {self.image_folder}, "
                    f"each with a folder a class (n01440764, ...). Pictures from {self.source}."
                )
        labels = {wnid: label for label, wnid in enumerate(list_folders(self.image_folder / "train"))}
        train = rows_of_folders(self.image_folder, "train", labels, names, owner)
        test = rows_of_folders(self.image_folder, "val", labels, names, owner)
        return Split(train, test, test, origin=f"{owner}: {self.image_folder}")


def read_class_names(path: Path, owner: str) -> dict[str, str]:
    """wnid -> class name, in order, from a list whose lines are "n01440764 tench"; `owner` opens the message of a ValueError."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_lines(path, owner), 1):
        wnid, _, name = line.partition(" ")
        wrong = wrong_with_text(wnid) or wrong_with_name(name)
        if not name.strip() or wnid in names or wrong:
            what = f": the class {wrong}" if wrong else ' is not "wnid name" with a wnid of its own'
            raise ValueError(f"{owner}: {path}, entry {number}: {shown(line)}{what}. Fetch the file again.")
        names[wnid] = name.strip()
    return names


def rows_of_folders(image_folder: Path, part: str, labels: dict[str, int], names: dict[str, str], owner: str) -> list[Row]:
    """Rows of the class folders below `image_folder`/`part`, folders and pictures in sorted order.

    Args:
        image_folder: what the rows' paths are relative to.
        part: the folder below it that holds the class folders; empty for the image folder itself.
        labels: folder -> label, from 0.
        names: folder -> class name.
        owner: the dataset's name, which opens the messages.

    Raises:
        ValueError: for a folder without a label or a name, and for a class without pictures.
    """
    parent = image_folder / part
    folders = list_folders(parent)
    unknown = [folder for folder in folders if folder not in labels or folder not in names]
    if unknown:
        raise ValueError(
            f"{owner}: {parent} holds {len(unknown)} folders that are no known class, such as {unknown[0]!r}. A class has a line in "
            "classnames.txt and, in ImageNet, a folder in images/train: complete these, or move the folders away."
        )
    rows = []
    for folder in folders:
        pictures = list_pictures(parent / folder)
        if not pictures:
            raise ValueError(f"{owner}: class {labels[folder]} ({names[folder]!r}) has no pictures in {parent / folder}. Unpack it again.")
        prefix = f"{part}/{folder}" if part else folder
        rows += [Row(f"{prefix}/{picture}", labels[folder], names[folder]) for picture in pictures]
    return rows
