"""Unpacking an archive safely, and putting what it holds where the readers look for it."""

import shutil
import tarfile
import zipfile
from pathlib import Path

from .sources import File, is_there


def put_in_place(path: Path, file: File, folder: Path, replace: bool) -> None:
    """Put a file, or what it holds, into a dataset's folder; with `replace`, what stands there gives way.

    Everything is unpacked first and then renamed. If the archive is damaged, hostile or another one, an
    exception is raised, and the folder is as before.
    """
    tree = folder / ".unpacking"
    shutil.rmtree(tree, ignore_errors=True)  # of a run that was killed
    tree.mkdir(parents=True)
    try:
        if file.kind == "file":
            shutil.copyfile(path, tree / file.name)
        else:
            print(f"  Unpacking {path.name}", flush=True)
            unpack(path, tree)
        if file.kind == "imagenet_train":  # it holds one archive a class
            for archive in sorted(tree.glob("n*.tar")):
                unpack(archive, tree / "train" / archive.stem)
                archive.unlink()  # so that the disk need not hold everything twice
        elif file.kind == "imagenet_val":
            _sort_validation(tree, folder / "devkit")
        found = {name: find(tree, name) for name in file.makes | file.also}
        absent = [name for name in file.makes if found[name] is None]
        if absent:
            raise ValueError(f"{path.name} does not hold {', '.join(absent)}")
        for name, target in (file.makes | file.also).items():
            source = found[name]
            if source is not None and (replace or not is_there(folder / target)):
                _move(source, folder / target)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file, compressed or not, into `folder`; nothing is written outside of it."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)


def find(tree: Path, name: str) -> Path | None:
    """The file or folder called `name` in `tree`, the one nearest to the top; None where there is none.

    Where only an archive of that name is there (Caltech's has 101_ObjectCategories.tar.gz), it is unpacked.
    A folder that holds nothing but a folder of its own name (as in Kaggle's archives) stands for that.
    """
    found = _nearest(tree, name)
    if found is None:
        inner = _nearest(tree, f"{name}.tar.gz") or _nearest(tree, f"{name}.zip")
        if inner is None:
            return None
        opened = inner.with_name(f"{inner.name}.unpacked")
        unpack(inner, opened)
        found = _nearest(opened, name)
    while found and found.is_dir() and [path.name for path in found.iterdir()] == [found.name]:
        found = found / found.name
    return found


def _nearest(tree: Path, name: str) -> Path | None:
    return min(tree.rglob(name), key=lambda path: (len(path.parts), path), default=None)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    path.rename(target)


def _sort_validation(tree: Path, devkit: Path) -> None:
    """ILSVRC2012_img_val.tar has no folders: move each image into val/<class>, by the lists of the devkit."""
    from scipy.io import loadmat

    truth_path = devkit / "ILSVRC2012_validation_ground_truth.txt"
    if not truth_path.is_file():
        raise ValueError(f"{truth_path} is missing: put ILSVRC2012_devkit_t12.tar.gz beside it")
    synsets = loadmat(str(devkit / "meta.mat"), simplify_cells=True)["synsets"]
    wnids = {synset["ILSVRC2012_ID"]: synset["WNID"] for synset in synsets}
    for number, class_id in enumerate(truth_path.read_text().split(), 1):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        class_folder = tree / "val" / wnids[int(class_id)]
        class_folder.mkdir(parents=True, exist_ok=True)
        (tree / name).rename(class_folder / name)  # FileNotFoundError where it is not in the archive
