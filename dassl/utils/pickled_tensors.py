"""Pickled tensors: bounds that are checked before anything is built, and an unpickler that knows tensors and containers alone.

Even such an unpickler lets a small file ask for much: entries that unpack to terabytes, millions of objects, or tuples in tuples whose hash overflows the
stack (as keys of a dictionary) or takes years. Files that do are refused on their pickle's operations. ``clip/`` and ``dassl/`` are each usable without the
other, so each has this file; tests/hostile/test_pickles.py holds the two equal.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MAX_PICKLE_BYTES = 64 * 2**20  # names and shapes of the largest published archive take less than 1 MiB
MAX_OPERATIONS = 2_000_000  # our choice: the largest published archive's pickle has some 100,000
MAX_TUPLE_ITEMS = 2_000  # in a tuple and the tuples in it; our choice: the largest that is written, Python's random state, has 628
STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_N_LEGACY_PICKLES = 5  # torch.save of PyTorch before 1.6 writes that many in a row, then the numbers


def check_file(path: Path) -> None:
    """Check what a file of ``torch.save``, zipped or not, would ask of its reader.

    Raises:
        pickle.UnpicklingError: more than any weights or checkpoint need; the message says what.
        zipfile.BadZipFile: it begins or ends as an archive and is none.
        MemoryError, OSError, ValueError, and others: it is damaged.
    """
    with path.open("rb") as file:
        starts_as_zip = file.read(4) == b"PK\x03\x04"
    if starts_as_zip:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path)
        return
    if zipfile.is_zipfile(path):  # two readers could take such a file for two things
        raise pickle.UnpicklingError("it ends as an archive, but does not begin as one")
    with path.open("rb") as file:
        for _ in range(_N_LEGACY_PICKLES):
            check_pickle(file)


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Check the sizes that an archive's entries unpack to, and the pickle among them.

    Raises:
        pickle.UnpicklingError: as :func:`check_file`.
    """
    unpacked, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    pickles = [info for info in archive.infolist() if info.filename.endswith("data.pkl")]
    if unpacked > 2 * packed + MAX_PICKLE_BYTES or any(info.file_size > MAX_PICKLE_BYTES for info in pickles):
        raise pickle.UnpicklingError(f"its {packed:,} bytes would unpack to {unpacked:,}, so it was not unpacked")
    for info in pickles:
        check_pickle(io.BytesIO(archive.read(info)))


def check_pickle(stream: BinaryIO) -> None:
    """Walk through the next pickle of ``stream``, up to its end, without building anything.

    Raises:
        pickle.UnpicklingError: it is damaged, or has more operations or larger nests of tuples than the bounds.
    """
    stack: list[int | None] = []  # for each object the items of its tuples, 1 for anything else; None for a mark
    memo: dict[int, int] = {}
    try:
        for n_operations, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if n_operations > MAX_OPERATIONS:
                raise pickle.UnpicklingError(f"its pickle has more than {MAX_OPERATIONS:,} operations")
            _apply(operation, argument, stack, memo)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise pickle.UnpicklingError(f"it is no pickle, or a damaged one ({error})") from error


def _apply(operation: pickletools.OpcodeInfo, argument: object, stack: list[int | None], memo: dict[int, int]) -> None:
    """What one operation does to the sizes on the stack."""
    name = operation.name
    if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = stack[-1] or 1
        return
    if name in ("GET", "BINGET", "LONG_BINGET", "DUP"):
        stack.append(stack[-1] if name == "DUP" else memo[int(str(argument))])
        return
    taken = _take(operation, stack)
    for produced in operation.stack_after:
        size = 1 + sum(taken) if name in _TUPLES else 1
        if size > MAX_TUPLE_ITEMS:
            raise pickle.UnpicklingError(f"its pickle holds tuples in tuples of more than {MAX_TUPLE_ITEMS:,} items")
        stack.append(None if produced is pickletools.markobject else size)


def _take(operation: pickletools.OpcodeInfo, stack: list[int | None]) -> list[int]:
    """The sizes that an operation takes off the stack: down to the last mark and what stands below it, or a fixed number."""
    taken: list[int] = []
    for wanted in reversed(operation.stack_before):
        if wanted is pickletools.stackslice:
            while stack[-1] is not None:
                taken.append(stack.pop() or 1)
        else:
            taken.append(stack.pop() or 1)
    return taken


def check_tensors(tensors: Mapping[str, Tensor], n_file_bytes: int) -> None:
    """Check that tensors are plain arrays on the CPU that take no more room, each written out, than their file explains.

    Args:
        tensors: by name.
        n_file_bytes: size of the file they come from. Repeated numbers (a view with stride 0) may cost a file next to nothing.

    Raises:
        pickle.UnpicklingError: names the first that is of another kind, or both sizes.
    """
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or type(tensor) not in _PLAIN_TENSORS:
            raise pickle.UnpicklingError(f"{name} is no plain array ({type(tensor).__name__}, {tensor.layout}, {tensor.device})")
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if n_bytes > 2 * n_file_bytes + MAX_PICKLE_BYTES:
        raise pickle.UnpicklingError(f"its arrays would take {n_bytes:,} bytes, and the file has {n_file_bytes:,}")


_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


class TensorUnpickler(pickle.Unpickler):
    """Unpickles the data of an archive that passes :func:`check_archive`; of the names it asks for, those of tensors are known, the others are up to `other`.

    Args:
        archive: the open archive.
        prefix: folder in the archive, with its slash, that holds ``data.pkl`` and the numbers.
    """

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{prefix}data.pkl")))
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name that the pickle asks for; nothing is imported."""
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return self.other(module, name)

    def other(self, module: str, name: str) -> Any:
        """What stands for a name that is not of tensors: by default nothing, so that the file is refused."""
        raise pickle.UnpicklingError(f"the archive asks for {module}.{name}, which weights do not need; it was not run")

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers that a tensor's description refers to."""
        kind, dtype, key, _, n_elements = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"the archive refers to {str(kind)[:80]!r}, which is no tensor storage")
        if key not in self._storages:
            content = self._archive.read(f"{self._prefix}data/{key}")
            if len(content) != int(n_elements) * dtype.itemsize:
                raise pickle.UnpicklingError(
                    f"storage {key} has {len(content)} bytes, {int(n_elements) * dtype.itemsize} are named: it is damaged"
                )
            self._storages[key] = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def rebuild_tensor(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    """A view of ``storage``; one that would reach outside it (``as_strided`` checks that) or repeat its elements is refused."""
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} does not fit its storage of {storage.numel()} elements")
    return storage.as_strided(size, stride, offset)
