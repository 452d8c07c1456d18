"""Types of arguments that several tools take, for argparse: what does not fit is refused with what would, before any work."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from pathlib import Path


def number(least: int = 1) -> Callable[[str], int]:
    """A whole number of ``least`` or more."""

    def read(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise ArgumentTypeError(f"takes a number of {least} or more; received {text!r}")
        return int(text)

    return read


def names(known: Collection[str] = ()) -> Callable[[str], tuple[str, ...]]:
    """Names with commas between them, each once; of ``known``, if it is given."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        if "" in words or (known and not set(words) <= set(known)):
            raise ArgumentTypeError(f"takes {', '.join(known) or 'names'} with commas between them; received {text!r}")
        return words

    return read


def numbers(least: int = 1) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers of ``least`` or more with commas between them, each once."""

    def read(text: str) -> tuple[int, ...]:
        words = [word.strip() for word in text.split(",")]
        if not all(word.isdecimal() and int(word) >= least for word in words):
            raise ArgumentTypeError(f"takes numbers of {least} or more with commas between them; received {text!r}")
        return tuple(dict.fromkeys(map(int, words)))

    return read


def seen_device(text: str) -> str:
    """A device that is here, such as ``cpu`` or ``cuda``."""
    from dassl.utils.environment import usable_device

    try:
        usable_device(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def new_file(text: str) -> str:
    """A place where a file can be written; its folder need not be there yet."""
    from dassl.utils.files import check_target

    folder = Path(text).absolute().parent
    try:
        while not folder.exists():
            folder = folder.parent
        check_target(text)
    except OSError as error:
        raise ArgumentTypeError(str(error)) from error
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ArgumentTypeError(f"cannot write the file {text}: {folder} is no folder that can be written in; name another place")
    return text
