"""Miniatures of the datasets' archives, in the layouts of the true ones, and the project's own table of sources pointed at a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.io import savemat

from diagnosis.published import readers
from preparation.sources import TABLE_PATH
from tests.datasets.conftest import LAYOUTS
from tests.preparation.server import COMMIT, Server

Files = Mapping[str, bytes]

READERS = {name: reader.__name__ for name, reader in readers().items() if name != "shapes"}
"""Name in configs/datasets -> registered name, of every dataset that is fetched."""


def tar(files: Files, compression: str = "gz") -> bytes:
    """A tar of these files, with entries for their folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
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


def below(folder: Path, prefix: str = "", skip: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The files below a folder, by their path behind ``prefix``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in skip)
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def imagenet_archives(root: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """The three official archives: a tar of tars, flat validation pictures with running numbers, and a devkit with its two lists."""
    images = root / "imagenet/images"
    wnids = sorted(path.name for path in (images / "train").iterdir())
    train = {f"{wnid}.tar": tar(below(images / "train" / wnid), "") for wnid in wnids}
    classes = [path.split("/")[1] for path, _, _ in split["test"]]
    order = [len(classes) - 1 - i for i in range(len(classes))]  # numbers are not in the order of classes
    picture = (images / split["test"][0][0]).read_bytes()
    val = {f"ILSVRC2012_val_{number:08d}.JPEG": picture for number in range(1, len(classes) + 1)}
    ids = {wnid: 5 - i for i, wnid in enumerate(wnids)}  # nor are the devkit's ids
    synsets = np.array([(ids[w], w, "words") for w in wnids], dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object)])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{ids[classes[i]]}\n" for i in order)
    kit = {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth.encode()}
    return {
        "ILSVRC2012_img_train.tar": tar(train, ""),
        "ILSVRC2012_img_val.tar": tar(val, ""),
        "ILSVRC2012_devkit_t12.tar.gz": tar({f"ILSVRC2012_devkit_t12/data/{name}": content for name, content in kit.items()}),
    }


def archives_of(name: str, root: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """File name -> content of what a dataset's sources serve, made of a miniature that lies below ``root``."""
    d = {"caltech101": "caltech-101", "food101": "food-101", "imagenet_sketch": "imagenet-sketch"}.get(name, name)
    d = {"imagenet_a": "imagenet-adversarial", "imagenet_r": "imagenet-rendition"}.get(d, d)
    folder = root / d
    splits = {path.name: path.read_bytes() for path in folder.glob("split_zhou_*.json")}
    junk = {"__MACOSX/._x": b"junk"}
    if name == "imagenet":
        return imagenet_archives(root, split)
    pictures = {
        "caltech101": lambda: caltech(below(folder / "101_ObjectCategories", "101_ObjectCategories/")),
        "oxford_pets": lambda: {
            "images.tar.gz": tar(below(folder / "images", "images/") | {"images/._a.jpg": b"mac"}),
            "annotations.tar.gz": tar({"annotations/trainval.txt": b"a 1 1 1\n", "annotations/trimaps/a.png": b"png"}),
        },
        "stanford_cars": lambda: {
            "cars_train.tgz": tar(below(folder / "cars_train", "cars_train/")),
            "cars_test.tgz": tar(below(folder / "cars_test", "cars_test/")),
        },
        "oxford_flowers": lambda: {
            "102flowers.tgz": tar(below(folder / "jpg", "jpg/")),
            "imagelabels.mat": b"mat",
            "cat_to_name.json": b'{"1": "a"}',
        },
        "food101": lambda: {"food-101.tar.gz": tar(below(folder / "images", "food-101/images/") | {"food-101/meta/classes.txt": b"a\n"})},
        "fgvc_aircraft": lambda: {"fgvc-aircraft-2013b.tar.gz": tar(below(folder, "fgvc-aircraft-2013b/data/"))},
        "sun397": lambda: {
            "SUN397.tar.gz": tar(below(folder / "SUN397", "SUN397/")),
            "Partitions.zip": zipped({"ClassName.txt": b"/a/abbey\n", "Training_01.txt": b"x\n", "Testing_01.txt": b"x\n"}),
        },
        "dtd": lambda: {
            "dtd-r1.0.1.tar.gz": tar(below(folder / "images", "dtd/images/") | {"dtd/labels/train1.txt": b"x", "dtd/imdb/imdb.mat": b"x"})
        },
        "eurosat": lambda: {"EuroSAT.zip": zipped(below(folder / "2750", "2750/") | junk)},
        "ucf101": lambda: {"UCF-101-midframes.zip": zipped(below(folder / "UCF-101-midframes", "UCF-101-midframes/") | junk)},
        "imagenetv2": lambda: {"imagenetv2-matched-frequency.tar.gz": tar(below(folder, skip=("classnames.txt",)))},
        "imagenet_sketch": lambda: {"ImageNet-Sketch.zip": zipped(below(folder / "images", "sketch/"))},
        "imagenet_a": lambda: {"imagenet-a.tar": tar(below(folder / "imagenet-a", "imagenet-a/"), "")},
        "imagenet_r": lambda: {"imagenet-r.tar": tar(below(folder / "imagenet-r", "imagenet-r/"), "")},
    }
    return pictures[name]() | splits


def caltech(pictures: Files) -> dict[str, bytes]:
    """The record's zip with an archive in it, and that archive alone."""
    inner = tar(pictures)
    return {
        "caltech-101.zip": zipped({"__MACOSX/caltech-101/._x": b"x", "caltech-101/101_ObjectCategories.tar.gz": inner}),
        "101_ObjectCategories.tar.gz": inner,
    }


def lay_out_archives(name: str, folder: Path) -> tuple[dict[str, list[Any]], dict[str, bytes]]:
    """The rows of a dataset's miniature, and its archives."""
    split = LAYOUTS[READERS[name]](folder, READERS[name])
    return split, archives_of(name, folder, split)


def serve(server: Server, name: str, archives: Files) -> dict[str, Any]:
    """Put archives where each source of the project's table has them, and give the dataset's entry for that server.

    Addresses become the server's, ids and repositories stay; sizes and hashes, where the table knows them, become those of the archives.
    """
    entry = yaml.safe_load(TABLE_PATH.read_text(encoding="utf-8"))[name]
    for file in entry["files"]:
        correct(file, archives.get(file["name"]))
        for number, source in enumerate(file["sources"]):
            content = archives.get(source.get("name", file["name"]))
            correct(source, content)
            if "url" in source:
                path = f"/{name}/{number}/{file['name']}"
                source["url"] = server.url + path
            else:
                path = f"/drive/{source['drive']}" if "drive" in source else hub_path(source)
            if content is not None and path:
                server.files[path] = content
    return entry


def hub_path(source: Mapping[str, str]) -> str:
    """The path of a hub's file on its server; empty for other sources."""
    if "hub" not in source:
        return ""
    owner, repository, file = source["hub"].split("/", 2)
    return f"/datasets/{owner}/{repository}/resolve/{source.get('revision', 'main')}/{file}"


def correct(facts: dict[str, Any], content: bytes | None) -> None:
    """Make what is known of a file true of the miniature."""
    for key, value in (
        ("bytes", lambda c: len(c)),
        ("md5", lambda c: hashlib.md5(c).hexdigest()),
        ("sha256", lambda c: hashlib.sha256(c).hexdigest()),
    ):
        if key in facts and content is not None:
            facts[key] = value(content)


def counts(name: str, split: Mapping[str, list[Any]]) -> dict[str, int]:
    """What the doctor counts in a miniature."""
    n_classes = len({row[1] for row in split["train"]})
    if name.startswith("imagenet") and name != "imagenet":
        return {"classes": n_classes, "test": len(split["test"])}
    return {"classes": n_classes, **{part: len(split[part]) for part in ("train", "val", "test")}}


__all__ = ["COMMIT", "READERS", "archives_of", "counts", "lay_out_archives", "serve", "tar", "zipped"]
