"""UCF101: the middle frames of 13,320 videos of 101 human actions (arXiv 1212.0402)."""

import random
import re

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import hold_out_val, read_listed
from .splits import Row, Split, read_lines, shown


@DATASET_REGISTRY.register()
class UCF101(ImageDataset):
    """UCF101 as middle frames, in class folders under UCF-101-midframes/; a split made here follows ucfTrainTestlist/."""

    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    # The frames; the videos that they come from: https://www.crcv.ucf.edu/data/UCF101.php
    source = "https://drive.google.com/file/d/10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O/view"
    split_source = "https://drive.google.com/file/d/1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y/view"

    def make_split(self, rng: random.Random) -> Split:
        """Train and val from trainlist01.txt, test from testlist01.txt, labels (from 1) by classInd.txt."""
        path = self.folder / "ucfTrainTestlist" / "classInd.txt"
        labels = {}
        for line in read_lines(path, type(self).__name__):
            number, _, action = line.partition(" ")
            if not number.isdecimal() or not action:
                raise ValueError(f'{type(self).__name__}: {path}: {shown(line)} is not "number action". Fetch the file again.')
            labels[action] = int(number) - 1
        train, val = hold_out_val(self._read_list("trainlist01.txt", labels), type(self).__name__, rng)
        return Split(train, val, self._read_list("testlist01.txt", labels))

    def _read_list(self, name: str, labels: dict[str, int]) -> list[Row]:
        """Rows of a list whose lines are "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", perhaps with a number after it."""
        path = self.folder / "ucfTrainTestlist" / name

        def row(line: str) -> Row:
            action, video = line.split()[0].split("/")
            frame = video.removesuffix(".avi") + ".jpg"
            return Row(f"{action_name(action)}/{frame}", labels[action], action_name(action))

        return read_listed(read_lines(path, type(self).__name__), row, f"{type(self).__name__}: {path}")


def action_name(action: str) -> str:
    """An action's class name, which is also its folder's: "ApplyEyeMakeup" -> "Apply_Eye_Makeup"."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))
