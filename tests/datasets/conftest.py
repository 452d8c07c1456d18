"""Miniatures of every dataset's true layout, and readers of them.

The facts (folders, file names) stand here a second time, so that a slip in a reader's facts fails a test.
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

# name -> folder, image folder, split file, path of image i of class c in part p
SPLIT_LAYOUTS = {
    "Caltech101": ("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json", "{c}/{p}{i:04d}.jpg"),
    "OxfordPets": ("oxford_pets", "images", "split_zhou_OxfordPets.json", "{c}_{p}{i}.jpg"),
    "StanfordCars": ("stanford_cars", "", "split_zhou_StanfordCars.json", "cars_{p2}/{c}{p}{i:05d}.jpg"),
    "OxfordFlowers": ("oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json", "image_{c}{p}{i:05d}.jpg"),
    "Food101": ("food-101", "images", "split_zhou_Food101.json", "{c}/{p}{i}.jpg"),
    "SUN397": ("sun397", "SUN397", "split_zhou_SUN397.json", "a/{c}/indoor/sun_{p}{i}.jpg"),
    "DescribableTextures": ("dtd", "images", "split_zhou_DescribableTextures.json", "{c}/{c}_{p}{i:04d}.jpg"),
    "EuroSAT": ("eurosat", "2750", "split_zhou_EuroSAT.json", "{c}/{c}_{p}{i}.jpg"),
    "UCF101": ("ucf101", "UCF-101-midframes", "split_zhou_UCF101.json", "{c}/v_{c}_{p}{i}.jpg"),
}
VARIANT_FOLDERS = {
    "ImageNetV2": "imagenetv2/imagenetv2-matched-frequency-format-val",
    "ImageNetSketch": "imagenet-sketch/images",
    "ImageNetA": "imagenet-adversarial/imagenet-a",
    "ImageNetR": "imagenet-rendition/imagenet-r",
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
        rows = []
        for label, (name, n) in enumerate(zip(CLASSES, counts, strict=True)):
            fields = {"c": name.replace(" ", "_"), "p": part, "p2": "test" if part == "test" else "train"}
            rows += [[pattern.format(i=i, **fields), label, name] for i in range(n)]
        random.Random(len(part)).shuffle(rows)
        split[part] = rows
    return split


def lay_out_split(root, name):
    folder, images, split_file, pattern = SPLIT_LAYOUTS[name]
    split = split_rows(pattern)
    put_images(root / folder / images, [row[0] for rows in split.values() for row in rows])
    put(root / folder / split_file, json.dumps(split))
    return split


def lay_out_aircraft(root, name="FGVCAircraft"):
    folder = root / "fgvc_aircraft"
    put(folder / "variants.txt", "".join(f"{c}\n" for c in CLASSES))
    split = split_rows("{c}{p}{i:07d}.jpg")
    for part, rows in split.items():
        put(folder / f"images_variant_{part}.txt", "".join(f"{path[:-4]} {c}\n" for path, _, c in rows))
        put_images(folder / "images", [row[0] for row in rows])
    return split


def put_class_names(folder):
    put(folder / "classnames.txt", "".join(f"{wnid} {name}\n" for wnid, name in IMAGENET.items()))


def lay_out_imagenet(root, name="ImageNet"):
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
    images = root / VARIANT_FOLDERS[name]
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


LAYOUTS = {  # name -> function of the data folder and the name that writes a miniature and returns its rows
    **dict.fromkeys(SPLIT_LAYOUTS, lay_out_split),
    "FGVCAircraft": lay_out_aircraft,
    "ImageNet": lay_out_imagenet,
    **dict.fromkeys(VARIANT_FOLDERS, lay_out_variant),
}


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
    message = str(raised.value)
    message.encode()  # it can be printed
    assert len(message) < 1500
    return message


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
