"""ImageNet (ILSVRC 2012): 1,281,167 training images of 1,000 classes; val has 50,000 and is also test."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .images import list_folders, list_images
from .splits import Row, Split, read_lines


@DATASET_REGISTRY.register()
class ImageNet(ImageDataset):
    """ImageNet, with images in images/train/<wnid>/ and images/val/<wnid>/.

    The published readers list files in the order of the file system, so their few-shot samples differ between
    machines; here the order is sorted (pinned by tests/datasets/test_readers.py).
    """

    dataset_dir = "imagenet"
    image_dir = "images"
    source = "https://image-net.org/download.php"
    split_source = "https://drive.google.com/file/d/1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF/view"  # classnames.txt
    samples_val = False
    is_listed = True

    def list_paths(self) -> list[Path]:
        """The list of class names."""
        return [self.folder / "classnames.txt"]

    def read_split(self) -> Split:
        """Rows by listing; a label is the place of the class's folder in the sorted order of images/train."""
        names = read_class_names(self.folder / "classnames.txt")
        labels = {wnid: label for label, wnid in enumerate(list_folders(self.image_folder / "train"))}
        train = rows_of_folders(self.image_folder, "train/", labels, names)
        test = rows_of_folders(self.image_folder, "val/", labels, names)
        return Split(train, test, test, origin=str(self.image_folder))


def read_class_names(path: Path) -> dict[str, str]:
    """wnid -> class name, in order, from a list whose lines are "n01440764 tench"."""
    names: dict[str, str] = {}
    for line in read_lines(path):
        wnid, _, name = line.partition(" ")
        if not name.strip() or wnid in names or not line.isprintable():
            raise ValueError(f'{path}: the line {line!r:.200} is not "wnid name" with a new wnid.')
        names[wnid] = name.strip()
    return names


def rows_of_folders(
    image_folder: Path, part: str, labels: dict[str, int], names: dict[str, str]
) -> list[Row]:
    """Rows of the class folders below `image_folder`/`part`, folders and images in sorted order.

    Args:
        part: "train/" or "val/"; empty for class folders in the image folder itself.
        labels: class folder -> label.
        names: class folder -> class name.
    """
    rows = []
    for folder in list_folders(image_folder / part):
        if folder not in labels or folder not in names:
            raise ValueError(
                f"{image_folder / part} holds {folder!r}, which is no class: a class has a line in "
                "classnames.txt and, in ImageNet, a folder in images/train."
            )
        images = list_images(image_folder / part / folder)
        rows += [Row(f"{part}{folder}/{image}", labels[folder], names[folder]) for image in images]
    return rows
