"""UCF101: the middle frames of 13,320 videos of 101 human actions (arXiv 1212.0402)."""

import random
import re

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import hold_out_val, read_listed
from .splits import Row, Split, read_lines


@DATASET_REGISTRY.register()
class UCF101(ImageDataset):
    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    # The frames; the videos that they come from: https://www.crcv.ucf.edu/data/UCF101.php
    source = "https://drive.google.com/file/d/10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O/view"
    split_source = "https://drive.google.com/file/d/1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y/view"

    def make_split(self, rng: random.Random) -> Split:
        """Train and val from trainlist01.txt, test from testlist01.txt, labels (from 1) by classInd.txt."""
        lists = self.folder / "ucfTrainTestlist"
        labels = {}
        for line in read_lines(lists / "classInd.txt"):
            number, action = line.split()
            labels[action] = int(number) - 1

        def row(
            line: str,
        ) -> Row:  # "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", perhaps with a number after it
            action, video = line.split()[0].split("/")
            frame = video.removesuffix(".avi") + ".jpg"
            return Row(f"{action_name(action)}/{frame}", labels[action], action_name(action))

        train, val = hold_out_val(read_listed(lists / "trainlist01.txt", row), rng)
        return Split(train, val, read_listed(lists / "testlist01.txt", row))


def action_name(action: str) -> str:
    """An action's class name, which is also its folder's: "ApplyEyeMakeup" -> "Apply_Eye_Makeup"."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))
