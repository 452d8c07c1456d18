"""Fetching a dataset: each file from the first source that gives it, checked, unpacked, put in place."""

import glob
import hashlib
import json
import shutil
import sys
from pathlib import Path

from filelock import FileLock

from .archives import put_in_place
from .sources import TABLE_PATH, Dataset, File, Source, fetch_command, is_there

RETRIES = 4  # of a download that breaks off; our choice, as is the time limit
TIMEOUT_SECONDS = 30  # to connect, and between two blocks of a download


def fetch(dataset: Dataset, root: Path, archives: Path | None = None, force: bool = False) -> None:
    """Put a dataset into the data folder `root`. What is there stays; an interrupted download is resumed.

    Args:
        archives: a folder of files that were downloaded by hand; they are used first, and left as they are.
        force: fetch everything again, and replace it.

    Raises:
        OSError: a file could not be fetched; the message has every source that was tried, and what to do.
    """
    folder, downloads = root / dataset.folder, root / ".downloads" / dataset.name
    if dataset.name == "shapes":
        from datasets.shapes import Shapes

        if force:
            shutil.rmtree(folder, ignore_errors=True)
        Shapes.at(root).prepare()  # draws what is missing
    elif dataset.missing(root) or force:
        print(f"{dataset.name}: fetching into {folder}", flush=True)
        downloads.mkdir(parents=True, exist_ok=True)
        failures = []
        with FileLock(root / ".downloads" / f"{dataset.name}.lock"):
            for file in dataset.files:
                is_placed = all(is_there(folder / place) for place in file.makes.values())
                if (is_placed and not force) or (file.unless and (root / file.unless).is_file()):
                    continue
                reasons = _fetch_file(file, folder, downloads, archives, force)
                if reasons and file.is_optional:
                    print(f"  {file.name}, which is not needed, could not be fetched:", *reasons, sep="\n")
                elif reasons:
                    failures += [f"  {file.name} could not be fetched:", *reasons]
            if not failures:
                shutil.rmtree(downloads, ignore_errors=True)
        if failures:
            command = fetch_command(dataset.name, root, "--from", "FOLDER")
            failures += ["  by hand: download what is missing into a folder FOLDER and run", f"    {command}"]
            failures += [f"  note: {dataset.note}"] if dataset.note else []
            raise OSError("\n".join([f"{dataset.name} is not complete.", *failures]))
    print(f"{dataset.name}: everything is in {folder}", flush=True)


def _fetch_file(file: File, folder: Path, downloads: Path, archives: Path | None, force: bool) -> list[str]:
    """Put one file into place; gives the reasons why no source could be used, none after a success."""
    attempts: list[tuple[Path | None, Source]] = []
    if archives is not None:
        attempts += [(archives / s.name, s) for s in file.sources if (archives / s.name).is_file()]
    attempts += [(None, source) for source in file.sources if not source.by_hand]
    reasons = [f"    {source}: download {source.name} by hand" for source in file.sources if source.by_hand]
    for by_hand, source in attempts:
        downloaded = downloads / source.name
        try:
            path = by_hand or _download(source, downloaded)
            _check_content(path, source)
            put_in_place(path, file, folder, force)
        except Exception as error:  # gdown, the hub's client, tarfile and zipfile have errors of their own
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            reasons.append(f"    {by_hand or source}: {reason}")
            if not by_hand and not getattr(error, "errno", None):  # what a full disk stops is not damaged
                downloaded.unlink(missing_ok=True)
        else:
            downloaded.unlink(missing_ok=True)
            return []
    return reasons


def _download(source: Source, path: Path) -> Path:
    """The file of a source, which is downloaded to `path`; a download that broke off is resumed."""
    if source.project:
        return TABLE_PATH.with_name(source.project)
    if path.is_file():
        return path
    from huggingface_hub import constants, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    print(f"  Fetching {source.name} from {source}", flush=True)
    if source.hub:
        owner, repository, name = source.hub.split("/", 2)
        repo, place = f"{owner}/{repository}", path.parent
        found = hf_hub_download(repo, name, repo_type="dataset", revision=source.revision, local_dir=place)
        return Path(found).replace(path)
    import gdown

    try:
        gdown.download(
            url=source.url or None,
            id=source.drive or None,
            output=str(path),
            resume=True,
            retries=RETRIES,
            timeout=TIMEOUT_SECONDS,
            quiet=not sys.stderr.isatty(),
        )
    except gdown.DownloadError as error:
        parts = list(path.parent.glob(f"{glob.escape(path.name)}????????.part"))
        if not parts or "byte range" not in str(error):
            raise
        for part in parts:
            part.unlink()  # which the server cannot resume: start again
        return _download(source, path)
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
