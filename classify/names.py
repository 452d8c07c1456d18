"""Class names as people give them: lists, and files with one name a line."""

from collections.abc import Sequence
from pathlib import Path

from clip.tokenizer import same_tokens


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """`names` without surrounding spaces.

    Raises:
        TypeError: it is a single text.
        ValueError: there is none, one is empty, or CLIP cannot tell two apart.
    """
    if isinstance(names, str):
        raise TypeError(f'class names are a list such as ["a heron", "a stork"]; received the text {names!r}')
    stripped = tuple(name.strip() for name in names)
    if not stripped or not all(stripped):
        raise ValueError(f"class names are needed, and none of them empty; received {list(names)[:5]}")
    for one, other in same_tokens(stripped):
        raise ValueError(
            f"CLIP cannot tell the class names {one!r} and {other!r} apart: give each class once"
        )
    return stripped


def read_names(path: str | Path) -> tuple[str, ...]:
    """The class names in a text file, one a line, UTF-8; empty lines are skipped."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file of class names at {path}; it holds one name a line, UTF-8")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{path} holds no class names; it takes one a line")
    return names
