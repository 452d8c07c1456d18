"""Weights by name or path: where they are looked for, how they are fetched, and the CLIP that they make.

A published name (``ViT-B/16``) is looked for in OpenAI's cache (``~/.cache/clip``) and in the hub's cache, then fetched from the hub
(safetensors) or, if that fails, from OpenAI (a TorchScript archive). Sizes, files and SHA-256 stand in ``published_models.json``.
A name of open_clip's (``open_clip:ViT-B-16/laion2b_s34b_b88k``) is looked up in the lists of the installed open_clip.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import open_clip_models
from .archive import WeightsFileError, ascii_escaped, first_line, read_open_clip_config, read_weights
from .checksums import cache_dir, remembered_sha256
from .config import CLIPConfig
from .download import Known, check_answers, download, is_offline
from .model import CLIP

BUNDLED = {"Tiny-Shapes": Path(__file__).with_name("tiny_shapes.safetensors")}
PUBLISHED_MODELS_PATH = Path(__file__).with_name("published_models.json")
TIMEOUT_SECONDS = 10  # to connect, and between two blocks of a download
WIDEST_OF_OPENAI = 1024  # ViT-L/14's image tower; open_clip's wider ones have heads of other widths than 64


class WeightsNotFoundError(FileNotFoundError):
    """Weights are neither on this machine nor could they be fetched; the message says where was looked and what to do."""


@dataclass(frozen=True)
class PublishedModel:
    """One set of weights that OpenAI published: its sizes, its archive and its copy on the hub."""

    name: str
    file: str
    sha256: str
    url: str
    hub: str
    hub_file: str
    config: CLIPConfig

    @property
    def archive_path(self) -> Path:
        """Where the public CLIP client keeps the archive."""
        return cache_dir() / self.file


@lru_cache(maxsize=1)
def published_models() -> dict[str, PublishedModel]:
    """Every set of weights that OpenAI published, by name."""
    facts = json.loads(PUBLISHED_MODELS_PATH.read_text(encoding="utf-8"))
    models = {}
    for name, m in facts["models"].items():
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in m["config"].items()}
        url = facts["archive_url"].format(sha256=m["sha256"], file=m["file"])
        models[name] = PublishedModel(name, m["file"], m["sha256"], url, m["hub"], facts["hub_file"], CLIPConfig(**sizes))
    return models


def available_models() -> list[str]:
    """The names that :func:`load` knows; it takes paths as well."""
    return [*published_models(), *BUNDLED]


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> CLIP:
    """A CLIP with its weights, float32, in evaluation mode.

    Args:
        name_or_path: one of :func:`available_models`, ``open_clip:<model>/<weights>``, or the path of an OpenAI archive, a safetensors file or a
            plain state dict.
        device: where the parameters go.

    Raises:
        ValueError: the name is unknown, the file is damaged or not of CLIP's architecture, or a model of open_clip's is no plain CLIP or
            open_clip is not installed.
        WeightsNotFoundError: the weights are not here and cannot be fetched.
    """
    name = str(name_or_path)
    published = published_models().get(name)
    if published is not None:
        path = _find(published)
        return build(read_weights(path)[0], path, expected=published.config, name=name).to(device)
    if name.startswith(open_clip_models.PREFIX):
        weights = open_clip_models.resolve(name)
        for note in weights.notes:
            print(f"NOTE: {note}")
        path = _find_open_clip(weights)
        return build(read_weights(path)[0], path, expected=weights.config, name=name).to(device)
    path = BUNDLED.get(name, Path(name).expanduser())
    if not path.is_file():
        raise _unknown(name)
    state, metadata = read_weights(path)
    return build(state, path, metadata).to(device)


def _unknown(name: str) -> Exception:
    near = difflib.get_close_matches(name, available_models(), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ValueError(
        f"MODEL.BACKBONE.NAME is {name!r}, which is neither a known name nor an existing file.{hint} "
        f"Known names: {', '.join(available_models())}; {open_clip_models.PREFIX}<model>/<weights>; or give the path of a weights file."
    )


def build(
    state: dict[str, Tensor],
    path: Path,
    metadata: dict[str, str] | None = None,
    expected: CLIPConfig | None = None,
    name: str = "the model of its open_clip_config.json",
) -> CLIP:
    """A CLIP of the sizes that ``state`` has, loaded strictly.

    Args:
        state: parameters under CLIP's public names, any float dtype.
        path: the file they come from, for messages, and for an ``open_clip_config.json`` beside it.
        metadata: what the file says of itself; ``activation`` may be ``quick_gelu`` or ``gelu``.
        expected: sizes, activation and heads that are known; otherwise those of an ``open_clip_config.json`` beside the file. Without either, the
            weights are taken for OpenAI's: QuickGELU, unless the file says otherwise, and heads of 64 channels.
        name: what has the expected sizes, for messages.

    Raises:
        WeightsFileError: names or shapes are not those of a CLIP, or not the expected ones.
        ValueError: the configuration beside the file is none of a plain CLIP.
    """
    stated = {"quick_gelu": True, "gelu": False}.get((metadata or {}).get("activation", ""))
    if expected is None and (model_cfg := read_open_clip_config(path)):
        quick_gelu = model_cfg.get("quick_gelu", False) if stated is None else stated
        expected = open_clip_models.clip_config(model_cfg, quick_gelu, str(path.with_name("open_clip_config.json")))
    state = _as_float32(state, path)
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())  # some files hold it as a list of one
    try:
        config = _read_config(state, path, stated, expected)
        with torch.device("meta"):
            clip = CLIP(config)
    except (ValueError, IndexError, RuntimeError, ArithmeticError) as e:  # of shapes that fit no tower as well
        raise WeightsFileError(f"{path}: {first_line(e, 1000)}") from e
    if expected is not None and config != expected:
        found, wanted = asdict(config), asdict(expected)
        differences = [f"{k} is {found[k]}, not {wanted[k]}" for k in found if found[k] != wanted[k]]
        raise WeightsFileError(f"{path} does not hold {name}: {'; '.join(differences)}. Delete it and fetch it again.")
    try:
        clip.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as e:
        raise WeightsFileError(f"{path} is not of CLIP's architecture: {ascii_escaped(' '.join(str(e).split())[:600])}") from e
    return clip.eval()


def _as_float32(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """``state`` in float32; integers other than the counters of batch norms, and numbers that are not finite, are refused."""
    odd = [k for k, v in state.items() if not v.is_floating_point() and not k.endswith("num_batches_tracked")]
    if odd:
        raise WeightsFileError(
            f"{path} holds {len(odd)} arrays that are no floating-point numbers, {ascii_escaped(odd[0][:100])} ({state[odd[0]].dtype}) the first. Weights "
            "are read in float16, bfloat16, float32 or float64, not quantised: give the weights that these were made from."
        )
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise WeightsFileError(
            f"{path} holds numbers that are not finite in {len(broken)} arrays, {ascii_escaped(broken[0][:100])} the first: delete it and fetch it again"
        )
    return state


def _read_config(state: dict[str, Tensor], path: Path, quick_gelu: bool | None, expected: CLIPConfig | None) -> CLIPConfig:
    """Sizes from the shapes of ``state``; activation and heads, which shapes do not show, as expected or else as in OpenAI's weights.

    Raises:
        ValueError: the shapes are of no CLIP, or nothing says the heads of weights that are not of OpenAI's kind.
    """
    if expected is not None:
        return CLIPConfig.from_state_dict(state, expected.quick_gelu, expected.vision_heads, expected.text_heads)
    config = CLIPConfig.from_state_dict(state, quick_gelu is not False)
    wide = config.has_vit and config.vision_width > WIDEST_OF_OPENAI
    if wide or config.vision_mlp_width or config.text_mlp_width:
        raise ValueError(
            f"these weights (image tower of width {config.vision_width}) are of no size that OpenAI published, and their shapes do not show the number of "
            f"attention heads: put their open_clip_config.json beside them, or name them {open_clip_models.PREFIX}<model>/<weights>"
        )
    if quick_gelu is None:
        print(
            f"NOTE: {path} does not say its activation: QuickGELU and heads of 64 channels are taken, as in OpenAI's weights. For weights of open_clip's, "
            f"most of which need GELU, put their open_clip_config.json beside them or name them {open_clip_models.PREFIX}<model>/<weights>."
        )
    return config


def find_local(name: str) -> Path | None:
    """The file of a name or path that is already on this machine, or None; nothing is fetched or read."""
    if name in BUNDLED:
        return BUNDLED[name]
    if name.startswith(open_clip_models.PREFIX):
        return open_clip_models.resolve(name).find_local()
    published = published_models().get(name)
    if published is None:
        return Path(name).expanduser() if Path(name).expanduser().is_file() else None
    return published.archive_path if published.archive_path.is_file() else _in_hub_cache(published)


def _in_hub_cache(published: PublishedModel) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(published.hub, published.hub_file)
    return Path(found) if isinstance(found, str) else None


def _find(published: PublishedModel) -> Path:
    """The file of a published name: from a cache, else fetched."""
    path = find_local(published.name)
    if path is not None:
        _check_hash(path, published)
        return path
    sources = [
        (f"the hub ({published.hub}, {published.hub_file})", lambda: _fetch_from_hub(published)),
        (f"OpenAI ({published.url})", lambda: download(published.url, published.archive_path, Known(sha256=published.sha256))),
    ]
    return _fetch(published.name, sources, lambda failures: missing_message(published.name, failures))


def _find_open_clip(weights: open_clip_models.OpenClipWeights) -> Path:
    """The file of a name of open_clip's: from a cache, else fetched by open_clip."""
    path = weights.find_local()
    if path is None or path == weights.url_path:  # open_clip checks the start of the hash in a file's name, where there is one
        sources = weights.sources() if path is None else weights.sources()[-1:]
        path = _fetch(weights.name, sources, weights.missing_message, quiet=path is not None)
    _check_hub_hash(path)
    return path


def _fetch(name: str, sources: Sequence[tuple[str, Callable[[], Path]]], explain: Callable[[list[str]], str], quiet: bool = False) -> Path:
    """The file from the first of ``sources`` that gives it.

    Raises:
        WeightsNotFoundError: none does; the message is what ``explain`` makes of the failures, a line each.
    """
    if is_offline():
        raise WeightsNotFoundError(explain(["  HF_HUB_OFFLINE is set: nothing was tried."]))
    failures = []
    for source, fetch in sources:
        try:
            if not quiet:
                print(f"Fetching {name} from {source}")
            return fetch()
        except Exception as e:  # what the hub's client raises depends on its version and HTTP library; all of it is told below
            failures.append(f"  {source}: {(str(e) or type(e).__name__).splitlines()[0][:400]}")
    raise WeightsNotFoundError(explain(failures))


def missing_message(name: str, failures: list[str] | None = None) -> str:
    """What to tell a person whose weights are not here: where was looked, what was tried, how to get them."""
    published = published_models()[name]
    tried = "Fetching them failed:\n" + "\n".join(failures) + "\n" if failures else ""
    return (
        f"The CLIP weights {name} are not on this machine.\n"
        f"Looked for: {published.archive_path} (OpenAI's archive) and {published.hub_file} of {published.hub} in the hub's cache ({_hub_cache_dir()}).\n"
        f"{tried}"
        f"To get them: on a machine with a network, run `python tools/prepare.py --weights {name}`, or download {published.url} "
        f"and put it at {published.archive_path}; or give a weights file by path: MODEL.BACKBONE.NAME path/to/weights."
    )


def _hub_cache_dir() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def _fetch_from_hub(published: PublishedModel) -> Path:
    from huggingface_hub import hf_hub_download, hf_hub_url

    check_answers(hf_hub_url(published.hub, published.hub_file))  # the client tries a hub that is down for half a minute
    path = Path(hf_hub_download(published.hub, published.hub_file, etag_timeout=TIMEOUT_SECONDS))
    _check_hash(path, published)
    return path


def _check_hash(path: Path, published: PublishedModel) -> None:
    """Hold a cached file against the SHA-256 that is known for it.

    A whole archive in OpenAI's cache that is another than the published one may have been put there on purpose; it is used, and said.
    """
    if path != published.archive_path:
        _check_hub_hash(path)
        return
    found = remembered_sha256(path)
    if found != published.sha256:
        print(
            f"WARNING: {path} is not the file that OpenAI published as {published.name} (its SHA-256 is {found}, the published one {published.sha256}). "
            "It is used, but accuracies with it cannot be compared with published ones. Delete it to have the published file fetched."
        )


def _check_hub_hash(path: Path) -> None:
    """Refuse a damaged file of the hub's cache, which names its files by their SHA-256."""
    stored_name = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", stored_name) and remembered_sha256(path) != stored_name:
        raise WeightsFileError(f"{path} is damaged: its SHA-256 is not {stored_name}. Delete {path.resolve()} and run again to fetch it.")
