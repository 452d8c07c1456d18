"""Class names as people give them: lists, and files with one name a line."""

from collections.abc import Sequence
from pathlib import Path


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """`names` without surrounding spaces.

    Raises:
        TypeError: it is a single text.
        ValueError: there is none, one is empty, or two read alike in a prompt.
    """
    if isinstance(names, str):
        raise TypeError(f'class names are a list such as ["a heron", "a stork"]; received the text {names!r}')
    stripped = tuple(name.strip() for name in names)
    if not stripped or not all(stripped):
        raise ValueError(f"class names are needed, and none of them empty; received {list(names)[:5]}")
    seen: dict[str, str] = {}
    for name in stripped:
        words = " ".join(name.replace("_", " ").split())
        if words in seen:
            raise ValueError(
                f"the class names {seen[words]!r} and {name!r} read alike in a prompt: give each once"
            )
        seen[words] = name
    return stripped


def read_names(path: str | Path) -> tuple[str, ...]:
    """The class names in a text file, one a line, UTF-8; empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or its names cannot be used; the file is named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of class names at {path}; it holds one name a line, UTF-8")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return check_names([line for line in lines if line.strip()])
    except ValueError as error:  # a UnicodeDecodeError is one
        raise ValueError(f"{path}: {error}") from error
