"""YAML from anywhere, within bounds: no code, no repeated keys, and no small file that unfolds to a large tree."""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**18
"""Largest config file, in bytes; our choice: the largest here has 2 KB."""

MAX_ENTRIES = 20_000
"""Most entries of a config, those that aliases and merge keys repeat counted each time; our choice: the largest here has some 50."""

MAX_DEPTH = 20
"""Deepest nesting; our choice: settings have 3 levels."""


def read_yaml_text(path: str | Path) -> str:
    """The text (UTF-8) of a config file.

    Raises:
        ValueError: it has more than `MAX_BYTES` bytes, or is not UTF-8; the message does not name the file.
    """
    n_bytes = Path(path).stat().st_size
    if n_bytes > MAX_BYTES:
        raise ValueError(f"it has {n_bytes:,} bytes, of at most {MAX_BYTES:,}")
    return Path(path).read_text(encoding="utf-8").removeprefix("\ufeff")


def parse_yaml(text: str) -> Any:
    """What a YAML text says, in plain Python values.

    Raises:
        ValueError: it is no YAML, asks for Python objects, gives a key twice, or is larger than the bounds; the message says where.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has {len(text):,} characters, of at most {MAX_BYTES:,}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _count(root, {}, 0)
            return loader.construct_document(root)
        finally:
            loader.dispose()
    except ValueError:
        raise
    except Exception as error:  # a value that is not of its tag makes PyYAML raise nearly anything
        raise ValueError(" ".join(str(error).split())[:600] or f"it is nested too deep ({type(error).__name__})") from error


def _count(node: yaml.Node, counts: dict[int, int], depth: int) -> int:
    """How many entries a node has when aliases are written out; each node is walked once.

    Raises ValueError where a bound is passed, a node holds itself, or a key of a mapping is given twice.
    """
    if id(node) in counts:
        if counts[id(node)] < 0:
            raise ValueError(f"an alias holds itself{_place(node)}")
        return counts[id(node)]
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep{_place(node)}")
    counts[id(node)] = -1
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _refuse_repeats(node)
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    total = 1 + sum(_count(child, counts, depth + 1) for child in children)
    if total > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES:,} entries, those that aliases repeat included{_place(node)}")
    counts[id(node)] = total
    return total


def _refuse_repeats(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise ValueError(f"the key {key.value[:80]!r} is given twice in one group{_place(key)}")
            seen.add(key.value)


def _place(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})" if node.start_mark else ""
