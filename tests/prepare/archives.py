"""Miniatures of the datasets' archives, in the layouts of the true ones."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

Files = Mapping[str, bytes]


def tar(files: Files, compression: str = "gz") -> bytes:
    """A tar of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: Files) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def below(folder: Path, prefix: str) -> dict[str, bytes]:
    """The files below a folder, under `prefix`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "classnames.txt")
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def archives_of(name: str, folder: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """File name -> content of what a dataset's sources serve, made of the miniature in `folder`."""
    splits = {path.name: path.read_bytes() for path in folder.glob("split_zhou_*.json")}
    junk = {"__MACOSX/._x": b"junk"}
    if name == "imagenet":
        return imagenet_archives(folder / "images", split)
    if name == "caltech101":
        inner = tar(below(folder / "101_ObjectCategories", "101_ObjectCategories/"))
        outer = zipped({"__MACOSX/caltech-101/._x": b"x", "caltech-101/101_ObjectCategories.tar.gz": inner})
        return splits | {"caltech-101.zip": outer, "101_ObjectCategories.tar.gz": inner}
    if name == "stanford_cars":
        parts = ("cars_train", "cars_test")
        packed = {f"{part}.tgz": tar(below(folder / part, f"{part}/")) for part in parts}
        kaggle = [below(folder / part, f"{part}/{part}/") for part in parts]
        return splits | packed | {"archive.zip": zipped(kaggle[0] | kaggle[1])}
    # archive -> folder in the miniature, path of that folder in the archive, and what else is in the archive
    layouts: dict[str, dict[str, tuple[str, str, Files]]] = {
        "oxford_pets": {
            "images.tar.gz": ("images", "images/", {"images/._a.jpg": b"mac"}),
            "annotations.tar.gz": ("none", "", {"annotations/trainval.txt": b"a 1 1 1\n"}),
        },
        "oxford_flowers": {"102flowers.tgz": ("jpg", "jpg/", {})},
        "food101": {"food-101.tar.gz": ("images", "food-101/images/", {"food-101/meta/classes.txt": b"a\n"})},
        "fgvc_aircraft": {"fgvc-aircraft-2013b.tar.gz": ("", "fgvc-aircraft-2013b/data/", {})},
        "sun397": {"SUN397.tar.gz": ("SUN397", "SUN397/", {})},
        "dtd": {"dtd-r1.0.1.tar.gz": ("images", "dtd/images/", {"dtd/labels/train1.txt": b"x"})},
        "eurosat": {"EuroSAT.zip": ("2750", "2750/", junk)},
        "ucf101": {"UCF-101-midframes.zip": ("UCF-101-midframes", "UCF-101-midframes/", junk)},
        "imagenetv2": {"imagenetv2-matched-frequency.tar.gz": ("", "", {})},
        "imagenet_sketch": {"ImageNet-Sketch.zip": ("images", "sketch/", {})},
        "imagenet_a": {"imagenet-a.tar": ("imagenet-a", "imagenet-a/", {})},
        "imagenet_r": {"imagenet-r.tar": ("imagenet-r", "imagenet-r/", {})},
    }
    made = dict(splits)
    for archive, (inner_folder, prefix, more) in layouts[name].items():
        files = {**below(folder / inner_folder, prefix), **more}
        compression = "gz" if "gz" in archive else ""
        made[archive] = zipped(files) if archive.endswith(".zip") else tar(files, compression)
    return made


def imagenet_archives(images: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """A tar of tars, numbered validation images without folders, and the lists of the devkit."""
    wnids = sorted(path.name for path in (images / "train").iterdir())
    train = {f"{wnid}.tar": tar(below(images / "train" / wnid, "")) for wnid in wnids}
    classes = [row[0].split("/")[1] for row in reversed(split["test"])]  # numbers are not in their order
    image = (images / split["test"][0][0]).read_bytes()
    val = {f"ILSVRC2012_val_{number:08d}.JPEG": image for number in range(1, len(classes) + 1)}
    ids = {wnid: 5 - i for i, wnid in enumerate(wnids)}  # nor are the devkit's ids
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array([(ids[w], w, "words") for w in wnids], dtype=fields).reshape(-1, 1)})
    truth = "".join(f"{ids[wnid]}\n" for wnid in classes)
    kit = {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth.encode()}
    return {
        "ILSVRC2012_img_train.tar": tar(train, ""),
        "ILSVRC2012_img_val.tar": tar(val, ""),
        "ILSVRC2012_devkit_t12.tar.gz": tar({f"ILSVRC2012_devkit_t12/data/{k}": v for k, v in kit.items()}),
    }
