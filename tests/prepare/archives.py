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


def below(path: Path, name: str) -> dict[str, bytes]:
    """A file, or the files below a folder, as entries of an archive that call it `name`."""
    paths = [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    return {(Path(name) / inner.relative_to(path)).as_posix(): inner.read_bytes() for inner in paths}


def archives_of(entry: dict[str, Any], folder: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """File name -> content of what a dataset's sources serve, made of the miniature in `folder`.

    Args:
        entry: the dataset's in the table.
    """
    if entry["folder"] == "imagenet":
        return imagenet_archives(folder / "images", split)
    made = {path.name: path.read_bytes() for path in folder.glob("split_zhou_*.json")}
    if entry["folder"] == "caltech-101":
        inner = tar(below(folder / "101_ObjectCategories", "101_ObjectCategories"))
        outer = zipped({"__MACOSX/caltech-101/._x": b"x", "caltech-101/101_ObjectCategories.tar.gz": inner})
        return made | {"caltech-101.zip": outer, "101_ObjectCategories.tar.gz": inner}
    for file in entry["files"]:
        names = file.get("makes", [])
        places = names if isinstance(names, dict) else {name: name for name in names}
        if set(places.values()) & set(entry["needs"]):
            files: dict[str, bytes] = {}
            for name, place in places.items():
                files |= below(folder / place, f"archive/{name}") | {f"__MACOSX/archive/x/{name}": b"junk"}
            pack = zipped if file["name"].endswith(".zip") else tar
            made[file["name"]] = pack(files)
    if entry["folder"] == "stanford_cars":
        parts = ("cars_train", "cars_test")
        kaggle = [below(folder / part, f"{part}/{part}") for part in parts]
        made["archive.zip"] = zipped(kaggle[0] | kaggle[1])
    return made


def imagenet_archives(images: Path, split: dict[str, list[Any]]) -> dict[str, bytes]:
    """A tar of tars, numbered validation images without folders, and the lists of the devkit."""
    wnids = sorted(path.name for path in (images / "train").iterdir())
    train = {f"{wnid}.tar": tar(below(images / "train" / wnid, ".")) for wnid in wnids}
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
