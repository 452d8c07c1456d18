"""A config node that reports every mistake of a file or an option list at once, each with its key and value."""

import copy
import difflib
import os
from collections.abc import Iterator, Sequence
from reprlib import Repr
from typing import Any

from yacs.config import CfgNode as YacsNode

from .yaml_text import parse_yaml, read_yaml_text

MAX_VALUE = 20_000
"""Longest text of a value that is read as Python's notation of a number or list, in characters; our choice. A longer one stays text."""

_DECLARED = "__list_or_scalar__"
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def _shown(value: Any) -> str:
    """A value as a message shows it: short, and in characters that every terminal prints."""
    text = _SHORT.repr(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def _key(key: str) -> str:
    """A key as a message shows it."""
    return key if key.isprintable() and len(key) <= 120 else _shown(key)[1:-1]


class ConfigError(ValueError):
    """One or more settings that cannot be used; the message lists all of them."""


class CfgNode(YacsNode):
    """A node of the config tree: yacs' node with strict merging.

    Nodes of plain yacs may hang anywhere in the tree, as `extend_cfg` functions of the CoOp family attach them. Merging
    is all or nothing: with one mistake, nothing changes and `ConfigError` lists every mistake.
    """

    def __init__(self, init_dict: dict | None = None, key_list: list[str] | None = None, new_allowed: bool = False) -> None:
        super().__init__(init_dict, key_list, new_allowed)
        self.__dict__[_DECLARED] = set()

    def declare_list_or_scalar(self, key: str) -> None:
        """Let an integer setting also be given as a list or tuple of integers, one entry a layer for instance.

        Args:
            key: dotted key below this node, such as `TRAINER.MPL.N_ADD_OP`; it must exist already.

        Raises:
            ConfigError: there is no such key.
        """
        *parents, last = key.split(".")
        node = _find(self, parents)
        if not isinstance(node, YacsNode) or last not in node:
            raise ConfigError(f"cannot declare {key} as list or integer: no such setting.{_hint(key, self)}")
        self.__dict__[_DECLARED].add(key)

    def merge_from_file(self, cfg_filename: str) -> None:
        """Merge a YAML file into this tree.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: the file is not YAML, holds no mapping, or sets something that this tree does not accept.
        """
        tree = self._read_yaml(cfg_filename)
        self._merge_tree(tree, f"config file {cfg_filename}")

    def merge_from_other_cfg(self, cfg_other: dict) -> None:
        """Merge another tree, a node or a plain nested dict, into this one; ConfigError as in `merge_from_file`."""
        self._merge_tree(cfg_other, "config given by the program")

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge a flat list KEY, VALUE, KEY, VALUE, ... as the command line gives it.

        Raises:
            ConfigError: odd length, an unknown key, or a value of another type; all mistakes together.
        """
        where = "options given as KEY VALUE pairs"
        if len(cfg_list) % 2:
            raise ConfigError(
                f"{where}: {len(cfg_list)} words cannot be paired, got {_shown(list(cfg_list))}; "
                "give each key one value, and quote a value that holds spaces"
            )
        pairs = [(str(key), value) for key, value in zip(cfg_list[::2], cfg_list[1::2], strict=True)]
        self._apply(pairs, where)

    @classmethod
    def load_cfg(cls, cfg_file_obj_or_str: Any) -> "CfgNode":
        """Read a tree from YAML text or from an open YAML file; Python files are refused, because they would be run."""
        name = getattr(cfg_file_obj_or_str, "name", "")
        if name:
            _refuse_python(name)
        text = cfg_file_obj_or_str if isinstance(cfg_file_obj_or_str, str) else cfg_file_obj_or_str.read()
        return cls(_parse_yaml(text, name or "YAML text"))

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        if isinstance(value, str) and len(value) > MAX_VALUE:
            return value
        try:
            return super()._decode_cfg_value(value)
        except (TypeError, MemoryError, RecursionError):
            return value  # text that begins like a Python literal and is none, such as "{[]: 1}"

    @staticmethod
    def _read_yaml(path: str) -> dict:
        _refuse_python(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no config file at {path}; check the path, given relative to {os.getcwd()}")
        try:
            text = read_yaml_text(path)
        except ValueError as error:
            raise ConfigError(f"config file {path} is not read: {error}") from error
        return _parse_yaml(text, path)

    def _merge_tree(self, tree: dict, where: str) -> None:
        self._apply(list(_leaves(tree, self)), where)

    def _apply(self, pairs: list[tuple[str, Any]], where: str) -> None:
        """Check every (dotted key, raw value), then set all of them or raise one error that lists all mistakes."""
        mistakes, settings = [], []
        declared = set(_declared_keys(self))
        for key, raw in pairs:
            try:
                settings.append((key, self._accept(key, raw, declared)))
            except ConfigError as error:
                mistakes.append(str(error))
        if mistakes:
            count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
            raise ConfigError(f"{count} in the {where}:\n" + "\n".join(f"  - {line}" for line in mistakes))
        for key, value in settings:
            *parents, last = key.split(".")
            node = _find(self, parents)
            if node.is_frozen():
                raise ConfigError(f"{key}: the config is frozen; call defrost() before merging the {where}")
            node[last] = value

    def _accept(self, key: str, raw: Any, declared: set[str]) -> Any:
        """The value to store for `key`, decoded and converted; ConfigError when the key or the type is wrong."""
        if self.key_is_renamed(key):
            raise ConfigError(f"{_key(key)} = {_shown(raw)}: renamed to {self.__dict__[YacsNode.RENAMED_KEYS][key]}")
        *parents, last = key.split(".")
        node = _find(self, parents)
        if not isinstance(node, YacsNode) or (last not in node and not node.is_new_allowed()):
            raise ConfigError(f"{_key(key)} = {_shown(raw)}: no such setting.{_hint(key, self)}")
        value = self._decode_cfg_value(raw)
        if last not in node:
            return value
        if isinstance(node[last], YacsNode):
            raise ConfigError(f"{_key(key)} = {_shown(raw)}: this is a group of settings; accepted: {key}.<{'|'.join(node[last])}>")
        if key in declared:
            return value if value is None and node[last] is None else _int_or_ints(key, value)
        return _coerce(key, value, raw, node[last])


def _refuse_python(path: str) -> None:
    if not path.endswith((".yaml", ".yml")):
        raise ConfigError(f"config file {path}: only .yaml and .yml files are read; a Python file is never run as config")


def _parse_yaml(text: str, where: str) -> dict:
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"config file {where} is not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"config file {where}: expected groups of settings (KEY: value), got {type(tree).__name__}")
    return tree


def _leaves(tree: dict, known: YacsNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that `tree` sets; a group that `known` does not have comes as one value."""
    for key, value in tree.items():
        below = known.get(key)
        if isinstance(value, dict) and isinstance(below, YacsNode):
            yield from _leaves(value, below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", copy.deepcopy(value)


def _find(node: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(node, YacsNode) or key not in node:
            return None
        node = node[key]
    return node


def _known_keys(node: YacsNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, YacsNode):
            yield from _known_keys(value, f"{prefix}{key}.")


def _declared_keys(node: YacsNode, prefix: str = "") -> Iterator[str]:
    for key in node.__dict__.get(_DECLARED, ()):
        yield prefix + key
    for key, value in node.items():
        if isinstance(value, YacsNode):
            yield from _declared_keys(value, f"{prefix}{key}.")


def _hint(key: str, root: YacsNode) -> str:
    """' Nearest known: ...' for an unknown key, judged by the dotted key, or else by its last part; '' if none is near."""
    names, key = list(_known_keys(root)), key[:200]  # the search is slow for long texts
    for of in (str.upper, lambda name: name.upper().rpartition(".")[2]):
        known = {of(name): name for name in names}
        nearest = difflib.get_close_matches(of(key), known, n=1, cutoff=0.7)
        if nearest:
            return f" Nearest known: {known[nearest[0]]}"
    return f" Known here: {', '.join(root)}"


def _int_or_ints(key: str, value: Any) -> Any:
    if type(value) is int:
        return value
    if isinstance(value, (list, tuple)) and value and all(type(entry) is int for entry in value):
        return value
    raise ConfigError(f"{_key(key)} = {_shown(value)}: expected an integer or a list of integers, got {type(value).__name__}")


def _coerce(key: str, value: Any, raw: Any, present: Any) -> Any:
    """`value` as the type of `present`: the same type, a list for a tuple and back, an int for a float.

    None, "not given", is taken only where it is the present value.
    """
    wanted = type(present)
    if wanted is str and isinstance(raw, str):
        # A text that reads as a number ("16") stays the text that was meant.
        return value if isinstance(value, str) else raw
    if type(value) is wanted or present is None:
        return value
    if wanted in (list, tuple) and isinstance(value, (list, tuple)):
        return wanted(value)
    if wanted is float and type(value) is int:
        return float(value)
    raise ConfigError(
        f"{_key(key)} = {_shown(raw)}: expected {wanted.__name__} (such as the present {present!r}), got {type(value).__name__}"
    )
