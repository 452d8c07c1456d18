"""SUN397: 39,700 pictures (in the published split) of 397 kinds of scene (CVPR 2010)."""

import random

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset
from .make_split import hold_out_val, read_listed
from .splits import Row, Split, read_lines


@DATASET_REGISTRY.register()
class SUN397(ImageDataset):
    """SUN397, pictures in SUN397/<letter>/<scene>/; a split made here follows the first published partition."""

    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_file = "split_zhou_SUN397.json"
    source = "https://vision.princeton.edu/projects/2010/SUN/"
    split_source = "https://drive.google.com/file/d/1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq/view"

    def make_split(self, rng: random.Random) -> Split:
        """Train and val from Training_01.txt, test from Testing_01.txt, labels by the line of ClassName.txt."""
        classes = read_lines(self.folder / "ClassName.txt", type(self).__name__)
        labels = {scene: label for label, scene in enumerate(classes)}
        train, val = hold_out_val(self._read_list("Training_01.txt", labels), type(self).__name__, rng)
        return Split(train, val, self._read_list("Testing_01.txt", labels))

    def _read_list(self, name: str, labels: dict[str, int]) -> list[Row]:
        """Rows of a list whose lines are "/a/abbey/sun_x.jpg", the folder being the scene."""
        path = self.folder / name

        def row(line: str) -> Row:
            scene = line.rpartition("/")[0]
            return Row(line.lstrip("/"), labels[scene], scene_name(scene))

        return read_listed(read_lines(path, type(self).__name__), row, f"{type(self).__name__}: {path}")


def scene_name(scene: str) -> str:
    """A scene's class name: the parts of its path without the letter, last part first: "/c/church/indoor" -> "indoor church"."""
    return " ".join(reversed(scene.strip("/").split("/")[1:]))
