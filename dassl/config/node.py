"""yacs' config node with strict merging: an unknown key fails with the nearest known one."""

import copy
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from yacs.config import CfgNode as YacsNode

from dassl.record import flat

_INT_OR_LIST = "__int_or_list__"


class CfgNode(YacsNode):
    """A node of the config tree.

    Nodes of plain yacs may be anywhere in the tree, as the `extend_cfg` of the CoOp family puts them there.
    Merging changes everything or, with a mistake, nothing: a ValueError then lists all mistakes.
    """

    def __init__(
        self, init_dict: dict | None = None, key_list: list | None = None, new_allowed: bool = False
    ) -> None:
        super().__init__(init_dict, key_list, new_allowed)
        self.__dict__[_INT_OR_LIST] = set()

    def declare_list_or_scalar(self, key: str) -> None:
        """Let the integer setting `key`, such as TRAINER.MPL.N_ADD_OP, also be a list of integers."""
        self.__dict__[_INT_OR_LIST].add(key)

    def merge_from_file(self, cfg_filename: str) -> None:
        with open(cfg_filename, encoding="utf-8-sig") as file:
            try:
                tree = yaml.safe_load(file)
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise ValueError(f"config file {cfg_filename} is not valid YAML: {error}") from error
        if not isinstance(tree, dict | None):
            raise ValueError(
                f"config file {cfg_filename}: expected groups of settings, got {type(tree).__name__}"
            )
        self._merge(_leaves(tree or {}, self), f"config file {cfg_filename}")

    def merge_from_other_cfg(self, cfg_other: dict) -> None:
        """Merge a node or a plain nested dict."""
        self._merge(_leaves(cfg_other, self), "given config")

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge a flat list KEY, VALUE, KEY, VALUE, … as the command line gives it."""
        if len(cfg_list) % 2:
            raise ValueError(
                f"the KEY VALUE pairs {list(cfg_list)} are an odd number of words; each key takes one value"
            )
        self._merge(zip(map(str, cfg_list[::2]), cfg_list[1::2], strict=True), "KEY VALUE pairs")

    def _merge(self, pairs: Any, where: str) -> None:
        mistakes, settings = [], []
        for key, raw in pairs:
            *parents, last = key.split(".")
            node: Any = self
            for parent in parents:
                node = node.get(parent) if isinstance(node, YacsNode) else None
            if not isinstance(node, YacsNode) or (last not in node and not node.is_new_allowed()):
                mistakes.append(f"{key} = {raw!r}: no such setting.{self._hint(key)}")
                continue
            try:
                settings.append(
                    (node, last, self._converted(key, raw, node.get(last), is_new=last not in node))
                )
            except ValueError as error:
                mistakes.append(f"{key} = {raw!r}: {error}")
        if mistakes:
            raise ValueError("\n  - ".join([f"{where}:", *mistakes]))
        for node, last, value in settings:
            if node.is_frozen():
                raise AttributeError(f"the config is frozen: {last} cannot be set to {value!r}")
            node[last] = value

    def _converted(self, key: str, raw: Any, present: Any, is_new: bool) -> Any:
        """`raw`, decoded, as the type of the `present` value; ValueError where it is of another type."""
        try:
            value = self._decode_cfg_value(raw)
        except (TypeError, MemoryError, RecursionError):
            value = raw  # text that only begins like a Python literal
        if isinstance(present, YacsNode):
            raise ValueError(f"this is a group of settings: {', '.join(present)}")
        if is_new or present is None:
            return value
        if key in self.__dict__[_INT_OR_LIST]:
            entries = value if isinstance(value, list | tuple) and value else [value]
            if all(type(entry) is int for entry in entries):
                return value
            raise ValueError("expected an integer or a list of integers")
        wanted = type(present)
        if wanted is str and type(raw) is bool:  # KgCoOp's and its like's files hold CTX_INIT: True
            return str(raw)
        if wanted is str and isinstance(raw, str):
            return value if isinstance(value, str) else raw  # "16" stays text
        if type(value) is wanted:
            return value
        if wanted in (list, tuple) and isinstance(value, list | tuple):
            return wanted(value)
        if wanted is float and type(value) is int:
            return float(value)
        raise ValueError(
            f"expected {wanted.__name__} (such as the present {present!r}), got {type(value).__name__}"
        )

    def _hint(self, key: str) -> str:
        """The known key that is nearest by its whole name, or else by its last part."""
        names = [name for name, _ in flat(self)]
        for part in (str.upper, lambda name: name.upper().rpartition(".")[2]):
            known = {part(name): name for name in names}
            nearest = difflib.get_close_matches(part(key[:200]), known, n=1, cutoff=0.7)
            if nearest:
                return f" Nearest known: {known[nearest[0]]}"
        return f" Known here: {', '.join(self)}"


def _leaves(tree: dict, known: YacsNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that `tree` sets; a group that `known` lacks comes as one value."""
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(known.get(key), YacsNode):
            yield from _leaves(value, known[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", copy.deepcopy(value)
