"""Oxford-IIIT Pets: 7,349 pictures of 37 breeds of cat and dog (CVPR 2012)."""

import random

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import hold_out_val, read_listed
from .splits import Row, Split, read_lines


@DATASET_REGISTRY.register()
class OxfordPets(ImageDataset):
    """Oxford Pets, all pictures in images/; a split made here follows the lists in annotations/."""

    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_file = "split_zhou_OxfordPets.json"
    source = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
    split_source = "https://drive.google.com/file/d/1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs/view"

    def make_split(self, rng: random.Random) -> Split:
        """Train and val from trainval.txt, test from test.txt."""
        train, val = hold_out_val(self._read_list("trainval.txt"), type(self).__name__, rng)
        return Split(train, val, self._read_list("test.txt"))

    def _read_list(self, name: str) -> list[Row]:
        """Rows of a list whose lines are "Breed_name_12 label species number", labels from 1; "#" opens a comment."""
        path = self.folder / "annotations" / name
        lines = [line for line in read_lines(path, type(self).__name__) if not line.startswith("#")]
        return read_listed(lines, _row, f"{type(self).__name__}: {path}")


def _row(line: str) -> Row:
    """The class name is the file's up to the last underscore, in lower case."""
    picture, label = line.split()[:2]
    return Row(f"{picture}.jpg", int(label) - 1, picture.rpartition("_")[0].lower())
