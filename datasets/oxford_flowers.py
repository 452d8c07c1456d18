"""Oxford Flowers: 8,189 pictures of 102 kinds of flower (ICVGIP 2008)."""

import random

import numpy as np

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import read_listed, read_mat, split_classes
from .splits import Row, Split, read_json_object


@DATASET_REGISTRY.register()
class OxfordFlowers(ImageDataset):
    """Oxford Flowers, all pictures in jpg/; a split made here follows imagelabels.mat and cat_to_name.json."""

    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    source = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
    split_source = "https://drive.google.com/file/d/1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT/view"

    def make_split(self, rng: random.Random) -> Split:
        """50/20/30 a class; entry i of imagelabels.mat is the label, from 1, of image_{i+1}, named by cat_to_name.json."""
        owner = type(self).__name__
        names = read_json_object(self.folder / "cat_to_name.json", owner)
        path = self.folder / "imagelabels.mat"
        labels = [str(label) for label in np.ravel(read_mat(path, owner).get("labels", ()))]

        def row(entry: str) -> Row:
            number, label = entry.split()
            return Row(f"image_{int(number):05d}.jpg", int(label) - 1, names[label])

        rows = read_listed([f"{number} {label}" for number, label in enumerate(labels, 1)], row, f"{owner}: {path}")
        return split_classes(rows, owner, rng)
