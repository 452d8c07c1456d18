"""Reading checkpoints that hold pickled objects without running anything from them.

Files written with the published Dassl keep the scheduler as a pickled object of a class, which `torch.load` rightly
refuses with `weights_only=True`. Here tensors and plain containers are rebuilt as usual, and whatever else a file names
becomes an inert stand-in: its class is never looked up, imported or called.
"""

import collections
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .pickled_tensors import TensorUnpickler, check_file, check_tensors

_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: torch.nn.Parameter(data, requires_grad),
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in (("set", set), ("frozenset", frozenset))},
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class Inert:
    """Stands for an object whose class is not allowed; takes whatever a pickle does to it and does nothing.

    `origin` is the name of the class or function that the file asked for.
    """

    origin = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Take a list entry of the pickle and drop it."""

    def extend(self, values: Any) -> None:
        """Take list entries of the pickle and drop them."""


class _StandInUnpickler(TensorUnpickler):
    """Looks nothing up: a name is of tensors, or on the list above, or becomes an Inert class."""

    def other(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name)) or type("Inert", (Inert,), {"origin": f"{module}.{name}"})


def load_tensors_and_plain(path: str) -> Any:
    """Read a checkpoint onto the CPU: as tensors and plain data, or else with `Inert` in place of every other object.

    Raises:
        Exception: of any kind, where the file is damaged, or asks for more than a checkpoint needs (`pickled_tensors`); never after anything was run.
    """
    check_file(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles; what matters is told by the errors
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        loaded = load_with_stand_ins(path)
    tensors = (entry for entry in walk(loaded) if isinstance(entry, torch.Tensor))
    check_tensors({f"array {i}": tensor for i, tensor in enumerate(tensors)}, Path(path).stat().st_size)
    return loaded


def load_with_stand_ins(path: str) -> Any:
    """Read a zip checkpoint, which `check_file` has passed, with `Inert` in place of every object that is not a tensor or plain data.

    Raises:
        pickle.UnpicklingError: not a zip checkpoint, or a TorchScript archive.
        Exception: of any kind, where the file is damaged.
    """
    if not zipfile.is_zipfile(path):
        raise pickle.UnpicklingError("only zip checkpoints, as torch 1.6 and later write them, can be read")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):
            raise pickle.UnpicklingError("a TorchScript archive is a program, not a checkpoint")
        prefix = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1), None)
        if prefix is None:
            raise pickle.UnpicklingError("it is an archive without a data.pkl")
        if f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder") != b"little":
            raise pickle.UnpicklingError("it was written on a big-endian machine")
        return _StandInUnpickler(archive, prefix).load()


def walk(tree: Any) -> Iterator[Any]:
    """Everything in a tree of containers, keys included, each once; a tree may be deep, or hold itself."""
    waiting, seen = [tree], set()
    while waiting:
        entry = waiting.pop()
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        yield entry
        if isinstance(entry, dict):
            waiting += [*reversed(entry.values()), *reversed(entry.keys())]
        elif isinstance(entry, list | tuple | set | frozenset):
            waiting += reversed(list(entry))


def find_inert(tree: Any) -> str | None:
    """The origin of the first `Inert` in a tree of containers, keys included; None when there is none."""
    found = (entry for entry in walk(tree) if isinstance(entry, Inert) or (isinstance(entry, type) and issubclass(entry, Inert)))
    return next((entry.origin for entry in found), None)
