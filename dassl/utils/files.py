"""Files and folders: JSON, listings, whole-or-not-at-all writing, downloads."""

import contextlib
import json
import os
import tempfile
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

MAX_LINKS = 40  # as Linux follows at most
UNFINISHED = ".part"
"""Ending of a file that is still being written."""


def mkdir_if_missing(dirname: str) -> None:
    """Create a folder with its parents; nothing happens when it exists or `dirname` is empty.

    Raises:
        NotADirectoryError: a file stands in its place, or in that of a parent; the message names it.
    """
    if not dirname:
        return
    try:
        os.makedirs(dirname, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        in_the_way = os.path.abspath(dirname)
        while not os.path.lexists(in_the_way):
            in_the_way = os.path.dirname(in_the_way)
        raise NotADirectoryError(
            f"cannot make the folder {dirname}: {in_the_way} is there and is no folder; move it away, or give another folder "
            "(OUTPUT_DIR, if it is a run's)"
        ) from error


def check_isfile(fpath: str) -> bool:
    """True when `fpath` is a file; warns otherwise."""
    is_file = os.path.isfile(fpath)
    if not is_file:
        warnings.warn(f"no file at {fpath}", stacklevel=2)
    return is_file


def read_json(fpath: str) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; the message names the file and the place.
    """
    with open(fpath, encoding="utf-8") as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{fpath} is not valid JSON ({error}); write or download it again") from error


def check_target(fpath: str) -> None:
    """Refuse a place for a new file that something else than an ordinary file has, such as a folder or a device.

    Raises:
        FileExistsError: it has; a new file would take the place of a device such as /dev/null, and cannot take a folder's.
    """
    if os.path.exists(fpath) and not (os.path.isfile(fpath) and not _leads_to_a_device(fpath)):
        found = "a folder" if os.path.isdir(fpath) else "no ordinary file, but a device, a pipe or the like"
        raise FileExistsError(f"cannot write the file {fpath}: what is there is {found}; name another file")


def _leads_to_a_device(fpath: str) -> bool:
    """Whether a path is one of the system's for devices and open files, such as /dev/stdout, or a link to one: what it leads to may be an ordinary file."""
    places = [os.path.abspath(fpath)]
    while os.path.islink(places[-1]) and len(places) <= MAX_LINKS:
        places.append(os.path.abspath(os.path.join(os.path.dirname(places[-1]), os.readlink(places[-1]))))
    return any(place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/") for place in places)


def write_json(obj: Any, fpath: str) -> None:
    """Write `obj` as JSON, creating the folder, whole or not at all."""
    text = json.dumps(obj, indent=4, separators=(",", ": "))
    write_whole(fpath, lambda file: file.write(text.encode("utf-8")))


def write_whole(fpath: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that `fpath` holds either what it held before or all of the new content, even if power fails.

    Args:
        fpath: where the file goes; its folder is created.
        write: gets the open binary file and writes the content.

    Raises:
        FileExistsError: what is there is no ordinary file.
    """
    check_target(fpath)
    folder = os.path.dirname(os.path.abspath(fpath))
    mkdir_if_missing(folder)
    with replacement(fpath) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


@contextlib.contextmanager
def replacement(fpath: str) -> Iterator[IO[bytes]]:
    """A new binary file beside `fpath`, whose folder is there, that takes its place when the block ends and is removed when it fails.

    Nothing is forced to disk: after a power failure `fpath` may be empty or torn, see `write_whole`.
    """
    folder, name = os.path.split(os.path.abspath(fpath))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=UNFINISHED, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, fpath)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _sync_folder(folder: str) -> None:
    """Force a folder's entries to disk, where the system can: only then does a renamed file outlive a power failure."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse to sync a folder, and the file is there
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: str) -> None:
    """Remove what `write_whole` left in `folder` and in the folders within, when the process was killed in it.

    Only for a folder that no other process writes to.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(UNFINISHED):
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(parent, name))


def _umask() -> int:
    """The process's umask; mkstemp gives files that only their owner can read, which run folders should not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder without those that begin with a dot, sorted if asked."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def tolist_if_not(obj: Any) -> list:
    """`obj` itself when it is a list, else a list that holds it alone."""
    return obj if isinstance(obj, list) else [obj]


def download_url(url: str, dst: str, from_gdrive: bool = False) -> None:
    """Download `url` to the file `dst`.

    Args:
        from_gdrive: `url` is a Google Drive address, which needs the package gdown.

    Raises:
        ModuleNotFoundError: gdown is needed and not installed.
        OSError: the download failed; nothing is left at `dst`.
    """
    mkdir_if_missing(os.path.dirname(dst))
    print(f"Downloading {url} to {dst}")
    if from_gdrive:
        try:
            import gdown
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"downloading {url} from Google Drive needs gdown; install it with `pip install gdown`, or put the file at {dst} by hand"
            ) from error
        gdown.download(url, dst, quiet=False)
        return

    def copy(file: IO[bytes]) -> None:
        with urllib.request.urlopen(url) as response:
            while block := response.read(1 << 20):
                file.write(block)

    write_whole(dst, copy)
