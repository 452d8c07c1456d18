"""A CLIP from a file of weights, read without running any code that it holds."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .config import CLIPConfig
from .model import CLIP
from .weights import BUNDLED, HUB_FILES, fetch, find_published

NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # integers in OpenAI's archives


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> CLIP:
    """A CLIP with its weights, float32, in eval mode.

    Args:
        name_or_path: one of `available_models()`, `open_clip:<model>/<weights>`, or the path of an archive of
            OpenAI's, a safetensors file or a state dict.

    Raises:
        ValueError: the name is unknown, or the file is damaged or does not hold such a CLIP.
        WeightsNotFoundError: the weights are not on this machine and could not be fetched.
    """
    name = str(name_or_path)
    published = find_published(name)
    path = fetch(name)
    state, metadata = read_weights(path)
    try:
        if any(key.startswith("text_model.") for key in state):
            raise ValueError(
                "it is a CLIP in the layout of Hugging Face's transformers. Give open_clip's file of these "
                f"weights ({' or '.join(HUB_FILES)}), OpenAI's archive, or a name such as ViT-B/16"
            )
        if published is None:
            config = _config_of_file(path, state, metadata.get("activation"))
        else:
            config = published.config
            if published.note:
                print(f"NOTE: {published.note}")
        clip = build(config, state)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} cannot be used as {name}: {str(error)[:2000]}") from error
    return clip.to(device)


def _config_of_file(path: Path, state: dict[str, Tensor], activation: str | None) -> CLIPConfig:
    """Sizes from the `open_clip_config.json` beside a file, or else from the shapes of the weights."""
    config_path = path.with_name("open_clip_config.json")
    if config_path.is_file():
        model_cfg = json.loads(config_path.read_text(encoding="utf-8"))["model_cfg"]
        quick_gelu = model_cfg.get("quick_gelu", False) if activation is None else activation == "quick_gelu"
        return CLIPConfig.from_open_clip(model_cfg, quick_gelu)
    if activation is None and path not in BUNDLED.values():
        print(
            f"NOTE: {path} does not say its activation; QuickGELU is taken, as in OpenAI's weights. Put the "
            "open_clip_config.json of other weights beside them."
        )
    return CLIPConfig.from_state_dict(state, quick_gelu=activation != "gelu")


def build(config: CLIPConfig, state: dict[str, Tensor]) -> CLIP:
    """A CLIP of these sizes with the weights of `state`, in eval mode; a RuntimeError if they do not fit."""
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    if "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(())  # a list of one number in some files
    with torch.device("meta"):
        clip = CLIP(config)
    clip.load_state_dict(state, strict=True, assign=True)
    return clip.eval()


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file, a state dict of `torch.save`, or one of OpenAI's TorchScript archives.

    Returns:
        The arrays by name, as in the file, on the CPU; and the metadata of a safetensors file.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    try:
        if is_safetensors:
            with safe_open(path, framework="pt") as arrays:
                names = arrays.keys()
                return {name: arrays.get_tensor(name) for name in names}, arrays.metadata() or {}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise ValueError("it is compressed, which files of weights are not")
                is_torchscript = any(name.endswith("/constants.pkl") for name in archive.namelist())
            if is_torchscript:
                kept = _read_torchscript(path, path.stat().st_mtime_ns)
                return {name: value.clone() for name, value in kept.items()}, {"activation": "quick_gelu"}
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        wrapped = [loaded[key] for key in ("state_dict", "model_state_dict", "model") if key in loaded]
        return _arrays_of(wrapped[0] if wrapped else loaded), {}
    except Exception as error:  # the readers raise nearly anything for a damaged file
        cause = str(error).strip().split("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to load the file unsafely
            cause = "it is not a pickle of arrays alone"
        raise ValueError(
            f"{path} cannot be read as CLIP weights (a safetensors file, a state dict or an archive of "
            f"OpenAI's): {cause}. Delete a damaged file and fetch it again"
        ) from error


class _Module:
    """Takes the place of a TorchScript module: holds its attributes."""


@lru_cache(maxsize=1)  # the next run of this process mostly takes the same file: ten times the time of a copy
def _read_torchscript(path: Path, modified: int) -> dict[str, Tensor]:
    """Reads the arrays of a TorchScript archive: without its code it is a file of `torch.save`."""
    without_code = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(without_code, "w") as copy:
        for entry in archive.infolist():
            if "/data/" in entry.filename or entry.filename.endswith(("/data.pkl", "/version", "/byteorder")):
                copy.writestr(entry, archive.read(entry))
    without_code.seek(0)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(without_code)
    modules: list[Any] = [(_Module, name) for name in names if name.startswith("__torch__.")]
    without_code.seek(0)
    with torch.serialization.safe_globals(modules):
        root = torch.load(without_code, map_location="cpu", weights_only=True)

    state: dict[str, Tensor] = {}
    waiting, seen = [("", root)], set()
    while waiting:
        prefix, module = waiting.pop()
        if module in seen:  # a module that holds itself would never end
            continue
        seen.add(module)
        for name, value in vars(module).items():
            if isinstance(value, _Module):
                waiting.append((f"{prefix}{name}.", value))
            elif isinstance(value, Tensor):
                state[prefix + name] = value
    return _arrays_of(state)


def _arrays_of(state: Any) -> dict[str, Tensor]:
    arrays = {name.removeprefix("module."): value for name, value in state.items() if name not in NOT_WEIGHTS}
    wrong = [name for name, value in arrays.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"its entries {wrong[:5]} are not arrays")
    return arrays
