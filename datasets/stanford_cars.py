"""Stanford Cars: 16,185 pictures of 196 models of car (3dRR 2013)."""

import random
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import checked_rows, hold_out_val, read_mat
from .splits import Row, Split


@DATASET_REGISTRY.register()
class StanfordCars(ImageDataset):
    """Stanford Cars, pictures in cars_train/ and cars_test/; a split made here follows the MATLAB annotations."""

    dataset_dir = "stanford_cars"
    image_dir = ""  # cars_train and cars_test stand in the dataset's folder itself
    split_file = "split_zhou_StanfordCars.json"
    source = "https://github.com/pytorch/vision/issues/7545"  # where to find the pictures since the authors' page is gone
    split_source = "https://drive.google.com/file/d/1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT/view"

    def make_split(self, rng: random.Random) -> Split:
        """Train and val from the devkit's training annotations, test from the test annotations with labels."""
        names = self._entries("devkit/cars_meta.mat", "class_names")
        train, val = hold_out_val(self._rows("cars_train", "devkit/cars_train_annos.mat", names), type(self).__name__, rng)
        return Split(train, val, self._rows("cars_test", "cars_test_annos_withlabels.mat", names))

    def _entries(self, mat_file: str, key: str) -> list[Any]:
        """The entries under `key` of a MATLAB file."""
        path = self.folder / mat_file
        arrays = read_mat(path, type(self).__name__)
        if key not in arrays:
            raise ValueError(f"{type(self).__name__}: {path} holds no {key!r}: fetch it again.")
        return list(arrays[key])

    def _rows(self, folder: str, mat_file: str, names: list[str]) -> list[Row]:
        """Rows of annotations with the fields fname and class (from 1)."""
        try:
            labels = [(entry["fname"], int(entry["class"]) - 1) for entry in self._entries(mat_file, "annotations")]
            rows = [Row(f"{folder}/{picture}", label, year_first(names[label])) for picture, label in labels]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{type(self).__name__}: {self.folder / mat_file} does not fit devkit/cars_meta.mat ({type(error).__name__}: {error}); "
                "expected are annotations with fname and class, the class a place in class_names. Fetch both again."
            ) from error
        return checked_rows(rows, f"{type(self).__name__}: {self.folder / mat_file}")


def year_first(name: str) -> str:
    """A car's name with the year, its last word, moved to the front: "Audi TTS Coupe 2012" -> "2012 Audi TTS Coupe"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"
