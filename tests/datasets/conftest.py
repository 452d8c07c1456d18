"""Miniatures of every dataset's true layout, and readers of them.

Folders and split files are the readers' own; tests/prepare holds them against the table of sources.
"""

import io
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from yacs.config import CfgNode

import datasets
from dassl.data.datasets import DATASET_REGISTRY

SPLIT_NAMES = ("Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "SUN397")
SPLIT_NAMES += ("DescribableTextures", "EuroSAT", "UCF101")
SAMPLED = (*SPLIT_NAMES, "FGVCAircraft", "ImageNet")
VARIANTS = ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
PATHS = {  # of image i of class c in a part, where images do not simply lie in class folders
    "FGVCAircraft": "{c}{part}{i:07d}.jpg",
    "OxfordPets": "{c}_{part}{i}.jpg",
    "OxfordFlowers": "image_{c}{part}{i:05d}.jpg",
    "StanfordCars": "cars_{folder}/{c}{part}{i:05d}.jpg",
    "SUN397": "a/{c}/indoor/sun_{part}{i}.jpg",
}
CLASSES = ("ash", "birch", "cedar wood", "Douglas fir", "elm")
COUNTS = {"train": (20, 6, 3, 9, 16), "val": (6, 2, 1, 4, 5), "test": (2, 2, 1, 2, 3)}  # images of each class
IMAGENET = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n01484850": "great white shark",
    "n01491361": "tiger shark",
    "n01494475": "hammerhead shark",
}
WNIDS = tuple(IMAGENET)
BIRD_COUNTS = {"wren": 10, "blue_jay": 4, "robin": 3, "emu": 2}
BIRDS = [f"{name}/{i}.jpg" for name, n in BIRD_COUNTS.items() for i in range(n)]


JPEG = io.BytesIO()
Image.frombytes("RGB", (24, 16), random.Random(0).randbytes(24 * 16 * 3)).save(JPEG, "JPEG")
IMAGE = JPEG.getvalue()


def put(path, content=IMAGE):
    """Writes a file (a small image by default) and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content, encoding="utf-8")


def put_images(folder, paths):
    for path in paths:
        put(folder / path)


def split_rows(pattern):
    """Rows of a split whose labels do not first appear in order."""
    split = {}
    for part, counts in COUNTS.items():
        rows, folder = [], "test" if part == "test" else "train"
        for label, (name, n) in enumerate(zip(CLASSES, counts, strict=True)):
            fields = {"c": name.replace(" ", "_"), "part": part, "folder": folder}
            rows += [[pattern.format(i=i, **fields), label, name] for i in range(n)]
        random.Random(len(part)).shuffle(rows)
        split[part] = rows
    return split


def lay_out(root, name):
    """Writes a miniature of a dataset into the data folder `root`; gives its rows by part."""
    if name == "ImageNet":
        return lay_out_imagenet(root)
    if name in VARIANTS:
        return lay_out_variant(root, name)
    reader = DATASET_REGISTRY.get(name).at(root)
    split = split_rows(PATHS.get(name, "{c}/{part}{i}.jpg"))
    put_images(reader.image_folder, [row[0] for rows in split.values() for row in rows])
    if name == "FGVCAircraft":
        put(reader.folder / "variants.txt", "".join(f"{c}\n" for c in CLASSES))
        for part, rows in split.items():
            lines = "".join(f"{path[:-4]} {c}\n" for path, _, c in rows)
            put(reader.folder / f"images_variant_{part}.txt", lines)
    else:
        put(*reader.list_paths(), json.dumps(split))
    return split


def put_class_names(folder):
    put(folder / "classnames.txt", "".join(f"{wnid} {name}\n" for wnid, name in IMAGENET.items()))


def lay_out_imagenet(root):
    put_class_names(root / "imagenet")
    split = {"train": [], "test": []}
    for label, (wnid, c) in enumerate(IMAGENET.items()):
        for part, folder in (("train", "train"), ("test", "val")):
            names = sorted(f"{i}.JPEG" for i in range(COUNTS[part][label]))
            split[part] += [[f"{folder}/{wnid}/{image}", label, c] for image in names]
    put_images(root / "imagenet/images", [row[0] for rows in split.values() for row in rows])
    return {**split, "val": split["test"]}


def lay_out_variant(root, name):
    """An ImageNet variant; README.txt lies where the true archives have one."""
    images = DATASET_REGISTRY.get(name).at(root).image_folder
    put_class_names(images.parent)
    present = range(5) if name in ("ImageNetV2", "ImageNetSketch") else (1, 2, 4)
    rows = []
    for label, c in enumerate(present):
        folder = str(c) if name == "ImageNetV2" else WNIDS[c]
        rows += [[f"{folder}/{i}.jpeg", label, IMAGENET[WNIDS[c]]] for i in range(2)]
    put_images(images, [row[0] for row in rows])
    if name in ("ImageNetA", "ImageNetR"):
        put(images / "README.txt", "about")
    return {"train": rows, "val": [], "test": rows}


def read(name, root, shots=-1, seed=1, classes="all", make_split=False, **settings):
    """The dataset, by its registered name; `settings` are keys below DATASET."""
    cfg = CfgNode({"SEED": seed, "DATASET": {"ROOT": str(root), "NUM_SHOTS": shots}})
    datasets.extend_cfg(cfg)
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.MAKE_SPLIT = classes, make_split
    for key, value in settings.items():
        cfg.DATASET[key] = str(value) if isinstance(value, Path) else value
    return DATASET_REGISTRY.get(name)(cfg)


def refused(name, root, **settings):
    """The message with which the dataset is refused."""
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        read(name, root, **settings)
    return str(raised.value)


def rows_of(dataset):
    """(train, val, test) as lists of [path relative to the image folder, label, class name]."""
    base, parts = f"{dataset.image_folder}/", (dataset.train_x, dataset.val, dataset.test)
    return tuple([[d.impath.removeprefix(base), d.label, d.classname] for d in part] for part in parts)


def counts(dataset):
    """(train, val, test) -> number of images by class name."""
    return tuple(dict(Counter(name for _, _, name in part)) for part in rows_of(dataset))


@pytest.fixture
def birds(tmp_path):
    """A folder of four class folders of own images, in the data folder `tmp_path`."""
    put_images(tmp_path / "birds", BIRDS)
    return tmp_path / "birds"
