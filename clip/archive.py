"""Reading weight files that come from the internet, without running anything they hold.

Three formats: safetensors, ``torch.save`` files (read with ``weights_only``), and the TorchScript archives that OpenAI published, whose tensors
are read here by an unpickler that knows tensors, containers and inert modules, and nothing else; ``torch.jit`` is not needed.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .pickled_tensors import TensorUnpickler, check_archive, check_file, check_tensors

MAX_CONFIG_BYTES = 2**20  # of an open_clip_config.json; our choice: published ones have some 1 KB
MAX_NAME = 1_000  # characters of an array's name; our choice: published ones have some 50
MAX_TENSORS = 5_000  # our choice: the largest CLIP of open_clip's, ViT-bigG-14, has under 2,000
NOT_PARAMETERS = {"input_resolution", "context_length", "vocab_size"}  # integers that OpenAI's archives carry beside the parameters


class WeightsFileError(ValueError):
    """A weights file cannot be read: it is truncated, of another kind, or holds what weights do not hold."""


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Parameters and metadata of a weights file, whichever of the three formats it has.

    Args:
        path: the file. A dictionary with a ``state_dict`` entry and names that begin with ``module.`` are unwrapped.

    Returns:
        name to tensor, on the CPU and in the file's dtypes; what the file says of itself: the header of a safetensors file, the activation of an
        archive of OpenAI's, all of which have QuickGELU, or ``{}``.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsFileError: it is no weights file, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file at {path}")
    try:
        state, metadata = _read(path)
        if len(state) > MAX_TENSORS:
            raise WeightsFileError(f"{path} holds {len(state):,} arrays; a CLIP has at most {MAX_TENSORS:,}")
        check_tensors(state, path.stat().st_size)
    except (WeightsFileError, PermissionError):
        raise
    except Exception as e:  # a damaged or hostile file makes the formats' readers raise nearly anything
        raise WeightsFileError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights; it may be truncated or of another kind "
            f"(safetensors, torch.save and OpenAI's archives are read). Delete it and fetch it again. Cause: {first_line(e)}"
        ) from e
    return state, metadata


def first_line(error: Exception, n_characters: int = 300) -> str:
    """The first line of what an error says, cut, for use in another message; its kind where it says nothing."""
    return ascii_escaped((str(error).strip() or type(error).__name__).splitlines()[0][:n_characters])


def ascii_escaped(text: str) -> str:
    """``text`` with what cannot be printed (control characters, halves of surrogate pairs) escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with path.open("rb") as f:
        head = f.read(9)
    if head[8:9] == b"{" and not head.startswith(b"PK"):
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                check_archive(archive, path)
                return _read_torchscript(archive, path), {"activation": "quick_gelu"}
    elif head.startswith(b"PK"):
        raise WeightsFileError(f"{path} begins as an archive, but its end is missing: it is truncated. Delete it and fetch it again.")
    if head.lstrip().startswith(b"<"):
        raise WeightsFileError(
            f"{path} is a web page, not weights: the address it came from answered with a page. Delete it and fetch it again."
        )
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles; what matters is told by the errors below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        foreign = re.search(r"GLOBAL (\S+)", str(e))
        if foreign is None:
            raise pickle.UnpicklingError("it is no file of torch.save") from e
        raise WeightsFileError(
            f"{path} holds pickled objects ({foreign.group(1)}), which could run code and were not read. "
            "Where you trust the file, load it with the code that wrote it, save its state_dict() by torch.save, and give that file."
        ) from e
    return _as_state_dict(loaded, path), {}


def _as_state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The plain name-to-tensor dictionary inside what ``torch.load`` gave."""
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsFileError(f"{path} holds {type(loaded).__name__}, not a dictionary of parameters")
    wrong = [ascii_escaped(str(k)[:80]) for k, v in loaded.items() if k not in NOT_PARAMETERS and not isinstance(v, Tensor)]
    if wrong:
        raise WeightsFileError(
            f"{path} holds entries that are no tensors: {', '.join(wrong[:5])}. A file of CLIP weights holds its parameters alone."
        )
    return {str(k).removeprefix("module."): v for k, v in loaded.items() if k not in NOT_PARAMETERS}


def read_open_clip_config(weights_path: Path) -> dict[str, Any]:
    """The ``model_cfg`` of an ``open_clip_config.json`` beside a weights file, as the hub's folders hold it; ``{}`` if there is none."""
    path = weights_path.with_name("open_clip_config.json")
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, of at most {MAX_CONFIG_BYTES:,}")
        return dict(json.loads(path.read_text(encoding="utf-8-sig"))["model_cfg"])
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise WeightsFileError(f"{path} is no open_clip configuration (an object with model_cfg is expected): {first_line(e)}") from e


class _InertModule:
    """Stands for a scripted module: holds its attributes and can do nothing."""

    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a module's state is {type(state).__name__}, not a dictionary")
        self.attributes = state


def _as_list(values: Any) -> list[Any]:
    return list(values)


class _ModuleUnpickler(TensorUnpickler):
    """Unpickles the data of a TorchScript archive: tensors, containers and inert modules."""

    def other(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _InertModule
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _as_list
        return super().other(module, name)


def _read_torchscript(archive: zipfile.ZipFile, path: Path) -> dict[str, Tensor]:
    """All tensors of a TorchScript archive under their attribute names."""
    data = next((n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1), None)
    if data is None:
        raise WeightsFileError(f"{path} is an archive without a data.pkl, which names its arrays: it is damaged. Fetch it again.")
    state = _collect(_ModuleUnpickler(archive, data.removesuffix("data.pkl")).load())
    return {k: v for k, v in state.items() if k not in NOT_PARAMETERS}


def _collect(root: Any) -> dict[str, Tensor]:
    """All tensors of a tree of modules, by their names; bounded, because a module of a hostile file may stand in many places, or in itself."""
    state: dict[str, Tensor] = {}
    waiting: deque[tuple[Any, str]] = deque([(root, "")])
    n_modules = 0
    while waiting:
        module, prefix = waiting.popleft()
        n_modules += 1
        for name, value in getattr(module, "attributes", {}).items():
            if isinstance(value, Tensor):
                state[f"{prefix}{name}"] = value
            elif isinstance(value, _InertModule):
                waiting.append((value, f"{prefix}{name}."))
        if max(n_modules, len(waiting), len(state)) > 4 * MAX_TENSORS or len(prefix) > MAX_NAME:
            raise pickle.UnpicklingError(f"it has more than {4 * MAX_TENSORS:,} modules, or names of more than {MAX_NAME} characters")
    return state
