"""Unpacking an archive safely, and putting what it holds where the readers look for it."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path

from .sources import File, is_there

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    LZMAError,
    EOFError,
    RuntimeError,
)


def put_in_place(path: Path, file: File, folder: Path, replace: bool) -> None:
    """Put a file, or what it holds, into a dataset's folder; everything is unpacked first and then renamed.

    Args:
        path: the downloaded file.
        file: what it is, and where its contents go.
        folder: the dataset's folder.
        replace: whether what stands there gives way.

    Raises:
        ValueError: the archive is damaged, hostile or another one; the folder is as before.
    """
    tree = folder / ".unpacking"
    shutil.rmtree(tree, ignore_errors=True)  # of a run that was killed
    tree.mkdir(parents=True)
    try:
        if file.kind == "file":
            check_space(tree, path.stat().st_size)
            shutil.copyfile(path, tree / file.name)
        else:
            print(f"  Unpacking {path.name}", flush=True)
            unpack(path, tree)
        if file.kind == "imagenet_train":
            _unpack_classes(tree)
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
    """Unpack a zip or tar file, compressed or not, into `folder`; nothing is written outside of it.

    Raises:
        ValueError: the file is damaged, or holds links or paths that lead out of the folder.
        OSError: the disk is too small.
    """
    try:
        if tarfile.is_tarfile(archive):
            check_space(folder, archive.stat().st_size)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                check_space(folder, sum(info.file_size for info in zipped.infolist()))
                zipped.extractall(folder)
        else:
            raise ValueError(f"{archive.name} is neither a zip nor a tar file, or it was cut short")
    except DAMAGED as error:
        raise ValueError(f"{archive.name} is damaged or hostile: {error or type(error).__name__}") from error


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
        opened.mkdir()
        unpack(inner, opened)
        found = _nearest(opened, name)
    while found and found.is_dir() and [path.name for path in found.iterdir()] == [found.name]:
        found = found / found.name
    return found


def _nearest(tree: Path, name: str) -> Path | None:
    return min(tree.rglob(name), key=lambda path: (len(path.parts), path), default=None)


def check_space(folder: Path, n_bytes: int) -> None:
    """Check that the disk of `folder` has room for `n_bytes`; OSError otherwise."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} has {in_gb(free)} free of {in_gb(n_bytes)} needed: make room, or give another --root"
        )


def in_gb(n_bytes: int) -> str:
    """Bytes in GB, or MB below one; powers of 1,000."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.0f} MB"


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    path.rename(target)


def _unpack_classes(tree: Path) -> None:
    """ILSVRC2012_img_train.tar holds one archive a class: unpack each into train/<class>."""
    for archive in sorted(tree.glob("n*.tar")):
        class_folder = tree / "train" / archive.stem
        class_folder.mkdir(parents=True)
        unpack(archive, class_folder)
        archive.unlink()  # so that the disk need not hold everything twice


def _sort_validation(tree: Path, devkit: Path) -> None:
    """ILSVRC2012_img_val.tar has no folders: move each image into val/<class>, by the lists of the devkit."""
    from scipy.io import loadmat

    truth_path = devkit / "ILSVRC2012_validation_ground_truth.txt"
    if not truth_path.is_file():
        raise ValueError(f"{truth_path} is missing: put ILSVRC2012_devkit_t12.tar.gz beside it")
    synsets = loadmat(str(devkit / "meta.mat"), simplify_cells=True)["synsets"]
    wnids = {synset["ILSVRC2012_ID"]: synset["WNID"] for synset in synsets}
    images = {path.name: path for path in tree.rglob("ILSVRC2012_val_*.JPEG")}
    for number, class_id in enumerate(truth_path.read_text().split(), 1):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        if name not in images:
            raise ValueError(f"the validation image {name} is not in the archive")
        class_folder = tree / "val" / wnids[int(class_id)]
        class_folder.mkdir(parents=True, exist_ok=True)
        images[name].rename(class_folder / name)
