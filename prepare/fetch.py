"""Fetching a dataset: each file from the first source that gives it, checked, unpacked, put in place."""

import glob
import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path

from filelock import FileLock

from .archives import check_space, put_in_place
from .sources import TABLE_PATH, File, Source, fetch_command, find_dataset, is_there, load_table

RETRIES = 4  # of a download that breaks off; our choice, as is the time limit
TIMEOUT_SECONDS = 30  # to connect, and between two blocks of a download


class FetchError(Exception):
    """A dataset is not complete; the message has every source that was tried, and what to do by hand."""


def fetch(
    name: str,
    root: str | Path,
    archives: str | Path | None = None,
    force: bool = False,
    table_path: Path = TABLE_PATH,
) -> None:
    """Put a dataset into the data folder `root`. What is there stays; an interrupted download is resumed.

    Args:
        archives: a folder of files that were downloaded by hand; they are used first, and left as they are.
        force: fetch everything again, and replace it.

    Raises:
        FetchError: a file could not be fetched.
        ValueError: there is no such dataset.
    """
    dataset, root = find_dataset(name, load_table(table_path)), Path(root).expanduser().absolute()
    folder, downloads = root / dataset.folder, root / ".downloads" / dataset.name
    if dataset.name == "shapes":
        from datasets.shapes import Shapes

        if force:
            shutil.rmtree(folder, ignore_errors=True)
        Shapes.at(root).prepare()  # draws what is missing
        print(f"{dataset.name}: everything is in {folder}", flush=True)
        return
    if not dataset.missing(root) and not force:
        print(f"{dataset.name}: everything is in {folder}", flush=True)
        return
    print(f"{dataset.name}: fetching into {folder}", flush=True)
    downloads.mkdir(parents=True, exist_ok=True)
    failures = []
    with FileLock(root / ".downloads" / f"{dataset.name}.lock"):
        for file in dataset.files:
            is_placed = all(is_there(folder / place) for place in file.makes.values())
            if (is_placed and not force) or (file.unless and (root / file.unless).is_file()):
                continue
            reasons = _fetch_file(file, folder, downloads, Path(archives) if archives else None, force)
            if reasons and file.optional:
                print(f"  {file.name}, which is not needed, could not be fetched:", *reasons, sep="\n")
            elif reasons:
                failures += [f"  {file.name} could not be fetched:", *reasons]
        if not failures:
            shutil.rmtree(downloads, ignore_errors=True)
    if failures:
        command = fetch_command(dataset.name, root, "--from", "FOLDER")
        failures += ["  by hand: download what is missing into a folder FOLDER and run", f"    {command}"]
        failures += [f"  note: {dataset.note}"] if dataset.note else []
        raise FetchError("\n".join([f"{dataset.name} is not complete.", *failures]))
    print(f"{dataset.name}: everything is in {folder}", flush=True)


def _fetch_file(file: File, folder: Path, downloads: Path, archives: Path | None, force: bool) -> list[str]:
    """Put one file into place; gives the reasons why no source could be used, none after a success."""
    attempts: list[tuple[Path | None, Source]] = []
    if archives is not None:
        given = [(archives / source.name, source) for source in file.sources]
        attempts += [(path, source) for path, source in given if path.is_file()]
    attempts += [(None, source) for source in file.sources if not source.by_hand]
    reasons = [f"    {source}: download {source.name} by hand" for source in file.sources if source.by_hand]
    for by_hand, source in attempts:
        try:
            path = by_hand or _download(source, downloads)
        except Exception as error:  # gdown, requests and the hub's client each have errors of their own
            reasons.append(f"    {source}: {' '.join(str(error).split())[:300] or type(error).__name__}")
            continue
        is_download = path.parent == downloads
        try:
            _check_content(path, source)
            put_in_place(path, file, folder, force)
        except (ValueError, OSError) as error:
            reasons.append(f"    {by_hand or source}: {error}")
            if is_download and isinstance(error, ValueError):  # after an OSError (a full disk) it is of use
                path.unlink()
            continue
        if is_download:
            path.unlink()
        return []
    return reasons


def _download(source: Source, folder: Path) -> Path:
    """The file of a source, in `folder`; a download that broke off is resumed."""
    if source.project:
        return TABLE_PATH.with_name(source.project)
    path = folder / source.name
    if path.is_file():
        return path
    from huggingface_hub import constants, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    print(f"  Fetching {source.name} from {source}", flush=True)
    part = next(folder.glob(f"{glob.escape(path.name)}????????.part"), None)  # what gdown leaves behind
    n_received = part.stat().st_size if part else 0
    check_space(folder, 2 * (source.bytes or 0) - n_received)  # what it holds is about as large
    if source.hub:
        owner, repository, name = source.hub.split("/", 2)
        found = hf_hub_download(
            f"{owner}/{repository}", name, repo_type="dataset", revision=source.revision, local_dir=folder
        )
        return Path(found).replace(path)
    import gdown

    get = partial(
        gdown.download,
        url=source.url or None,
        id=source.drive or None,
        output=str(path),
        resume=True,
        retries=RETRIES,
        timeout=TIMEOUT_SECONDS,
        quiet=not sys.stderr.isatty(),
    )
    try:
        get()
    except gdown.DownloadError as error:
        if part is None or "byte range" not in str(error):
            raise
        part.unlink()  # the server cannot resume a download: start again
        get()
    return path


def _check_content(path: Path, source: Source) -> None:
    """Compare a file with its known size and hash; ValueError says what differs."""
    n_bytes = path.stat().st_size
    if source.bytes is not None and n_bytes != source.bytes:
        raise ValueError(f"{path.name} has {n_bytes:,} bytes, not {source.bytes:,}")
    for algorithm in ("sha256", "md5"):
        expected = getattr(source, algorithm)
        if expected and digest(path, algorithm) != expected:
            raise ValueError(f"{path.name} is damaged or another file: its {algorithm} is not {expected}")
    if path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))  # Google Drive may have answered with a web page


def digest(path: Path, algorithm: str) -> str:
    """The hash of a file, in hex."""
    hasher = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(2**20):
            hasher.update(block)
    return hasher.hexdigest()
