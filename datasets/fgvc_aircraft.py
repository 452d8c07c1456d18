"""FGVC Aircraft: 10,000 pictures of 100 variants of aircraft (arXiv 1306.5151)."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import read_listed
from .splits import PARTS, Row, Split, read_lines


@DATASET_REGISTRY.register()
class FGVCAircraft(ImageDataset):
    """FGVC Aircraft, all pictures in images/; its own lists are the split, so none is ever made."""

    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    source = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
    can_make_split = False

    def list_paths(self) -> list[Path]:
        """The list of variants, whose lines are the labels, and one list of pictures a part."""
        return [self.folder / "variants.txt", *(self._part_path(part) for part in PARTS)]

    def _part_path(self, part: str) -> Path:
        """The list of a part's pictures."""
        return self.folder / f"images_variant_{part}.txt"

    def read_split(self) -> Split:
        """Rows of the lists, whose lines are "0056978 707-320": the picture's name and its variant."""
        owner = type(self).__name__
        labels = {name: label for label, name in enumerate(read_lines(self.folder / "variants.txt", owner))}

        def row(line: str) -> Row:
            picture, variant = line.split(" ", 1)
            return Row(f"{picture}.jpg", labels[variant], variant)

        train, val, test = (
            read_listed(read_lines(self._part_path(part), owner), row, f"{owner}: {self._part_path(part)}") for part in PARTS
        )
        return Split(train, val, test, origin=f"{owner}: images_variant_*.txt of {self.folder}")
