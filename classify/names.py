"""Class names as people give them: lists, and files with one name a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainers.prompt_file import is_shown_as_it_is


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` without surrounding spaces, at least one, no two of which read alike in a prompt.

    Raises:
        TypeError: it is a single text, or holds something else than texts.
        ValueError: there is none, one is empty or holds a control character, or two read alike.
    """
    if isinstance(names, str):
        raise TypeError(f'class names are a list such as ["a heron", "a stork"]; received the text {names!r}')
    names = list(names)
    others = [name for name in names if not isinstance(name, str)]
    if others:
        raise TypeError(f"class names are texts; received {others[0]!r}")
    stripped = tuple(name.strip() for name in names)
    if not stripped or not all(stripped):
        raise ValueError("class names are needed, and none of them empty; received " + repr(names[:5]))
    for name in stripped:
        if not is_shown_as_it_is(name):
            raise ValueError(
                f"the class name {ascii(name[:100])} holds a control character or a line's end: give each name as plain text of one line"
            )
    seen: dict[str, str] = {}
    for name in stripped:
        reading = " ".join(name.replace("_", " ").split())
        if reading in seen:
            raise ValueError(
                f"the class names {seen[reading]!r} and {name!r} read alike in a prompt, so nothing would tell them apart: give each once"
            )
        seen[reading] = name
    return stripped


def read_names(path: str | Path) -> tuple[str, ...]:
    """The class names in a text file, one a line, UTF-8; empty lines are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or its names cannot be used; the file is named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of class names at {path}; it holds one name a line, UTF-8")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return checked_names([line for line in lines if line.strip()])
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}): save the class names as UTF-8, one a line") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
