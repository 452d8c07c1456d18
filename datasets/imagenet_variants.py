"""What the four ImageNet variants share: class folders for testing alone, named by ImageNet's classnames.txt."""

from pathlib import Path

from .base import ImageDataset
from .imagenet import read_class_names, rows_of_folders
from .images import list_folders
from .splits import Split


class ImageNetVariant(ImageDataset):
    """Class folders for testing alone; K and base/new do not apply.

    Train holds the test pictures, as in the published readers, because the engine takes class names from it: such a
    dataset is for runs with --eval-only.
    """

    split_source = "https://drive.google.com/file/d/1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF/view"  # classnames.txt, a copy of ImageNet's
    can_make_split = False
    test_only = True
    is_listed = True

    def list_paths(self) -> list[Path]:
        """The list of class names: a copy in the dataset's folder or, where there is none, ImageNet's own."""
        own, imagenet = self.folder / "classnames.txt", self.root / "imagenet" / "classnames.txt"
        return [imagenet if imagenet.exists() and not own.exists() else own]

    def label_folders(self, folders: list[str], names: dict[str, str]) -> tuple[dict[str, int], dict[str, str]]:
        """Folder -> label and folder -> class name; here, labels are places in the sorted order of the wnid folders present.

        Args:
            folders: the class folders present, sorted.
            names: wnid -> class name, in ImageNet's order.
        """
        return {folder: label for label, folder in enumerate(folders)}, names

    def read_split(self) -> Split:
        """Rows by listing, for test and (the same) for train."""
        owner = type(self).__name__
        names = read_class_names(self.list_paths()[0], owner)
        labels, folder_names = self.label_folders(list_folders(self.image_folder), names)
        rows = rows_of_folders(self.image_folder, "", labels, folder_names, owner)
        return Split(rows, [], rows, origin=f"{owner}: {self.image_folder}")
