"""Files and folders: JSON, listings, and files that are written whole or not at all."""

import json
import os
import warnings
from collections.abc import Callable
from typing import IO, Any


def mkdir_if_missing(dirname: str) -> None:
    """Create a folder with its parents; an empty name and a folder that exists are fine."""
    if dirname:
        os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str) -> bool:
    """True when `fpath` is a file; warns otherwise."""
    is_file = os.path.isfile(fpath)
    if not is_file:
        warnings.warn(f"no file at {fpath}", stacklevel=2)
    return is_file


def read_json(fpath: str) -> Any:
    """The content of a JSON file; a ValueError that names the file where it is not JSON."""
    with open(fpath, encoding="utf-8-sig") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{fpath} is not valid JSON ({error}); write or download it again") from error


def write_json(obj: Any, fpath: str) -> None:
    """Write `obj` as JSON, creating the folder, whole or not at all."""
    text = json.dumps(obj, indent=4)
    write_whole(fpath, lambda file: file.write(text.encode("utf-8")))


def write_whole(fpath: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a temporary file beside `fpath` and rename it, so that `fpath` is never half written.

    Args:
        fpath: where the file goes; its folder is created.
        write: gets the open binary file and writes the content.
    """
    mkdir_if_missing(os.path.dirname(fpath))
    temporary = f"{fpath}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, fpath)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder without those that begin with a dot, sorted if asked."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names
