"""A CLIP from a file of weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from .config import CLIPConfig
from .model import CLIP
from .weights import BUNDLED, HUB_FILES, fetch, find_published
from .weights_file import read_weights


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
