"""Where CLIP weights are, by name or path; it imports no torch, so that looking for them is quick.

A published name (`ViT-B/16`) is looked for in OpenAI's cache (`~/.cache/clip`) and in the Hugging Face cache,
then fetched from the hub (safetensors) or, if that fails, from its web address (a TorchScript archive).
`open_clip:ViT-B-16/laion2b_s34b_b88k` names weights in the lists of the installed open_clip, and so does
their repository on the hub, `laion/CLIP-ViT-B-16-laion2B-s34B-b88K`.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .config import CLIPConfig

BUNDLED = {"Tiny-Shapes": Path(__file__).with_name("tiny_shapes.safetensors")}
PUBLISHED_MODELS_PATH = Path(__file__).with_name("published_models.json")
OPEN_CLIP = "open_clip:"
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TIMEOUT = 5, 20  # seconds to connect to a server, and to wait for its answer; our choice


class WeightsNotFoundError(FileNotFoundError):
    """Weights are not on this machine and could not be fetched."""


@dataclass(frozen=True)
class PublishedModel:
    """Published weights: the sizes of their model, and where they are.

    Args:
        hub: repository on the Hugging Face hub, which holds one of `HUB_FILES`; "" if there is none.
        url: web address of the file; "" if there is none.
        sha256: of the file at `url`; "" if unknown.
        note: what to know before comparing numbers.
    """

    name: str
    config: CLIPConfig
    hub: str
    url: str
    sha256: str = ""
    note: str = ""

    @property
    def archive_path(self) -> Path:
        """Where OpenAI's client and open_clip keep the file of `url`."""
        return Path("~/.cache/clip").expanduser() / self.url.rpartition("/")[2]


@lru_cache(maxsize=1)
def published_models() -> dict[str, PublishedModel]:
    """The weights that OpenAI published, by name."""
    facts = json.loads(PUBLISHED_MODELS_PATH.read_text(encoding="utf-8"))
    models = {}
    for name, entry in facts["models"].items():
        sizes: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in entry["config"].items()
        }
        url = facts["archive_url"].format(sha256=entry["sha256"], file=entry["file"])
        models[name] = PublishedModel(name, CLIPConfig(**sizes), entry["hub"], url, entry["sha256"])
    return models


def available_models() -> list[str]:
    """The names that `load` knows, beside open_clip's."""
    return [*published_models(), *BUNDLED]


def find_published(name: str) -> PublishedModel | None:
    """The published weights of a name, also open_clip's and of the hub; None for other names and paths.

    Raises:
        ValueError: open_clip has no such weights, or their model is not a plain CLIP.
    """
    if name.startswith(OPEN_CLIP):
        return _find_in_open_clip(name)
    return published_models().get(name) or _find_on_hub(name)


def _find_on_hub(name: str) -> PublishedModel | None:
    """The weights of open_clip's that lie in a repository of the hub, such as laion/CLIP-ViT-B-16-…"""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or Path(name).exists():
        return None
    try:
        import open_clip
    except ImportError:
        return None
    for model, tag in open_clip.list_pretrained():
        if open_clip.pretrained.get_pretrained_cfg(model, tag).get("hf_hub", "").rstrip("/") == name:
            return _find_in_open_clip(f"{OPEN_CLIP}{model}/{tag}")
    return None


def _find_in_open_clip(name: str) -> PublishedModel:
    try:
        import open_clip
    except ImportError as error:
        raise ValueError(f"{name} needs open_clip: pip install 'open_clip_torch>=2.29'") from error
    model, _, tag = name.removeprefix(OPEN_CLIP).rpartition("/")
    model = model.replace("/", "-")
    facts = open_clip.pretrained.get_pretrained_cfg(model, tag)
    if not facts:
        known = [f"{OPEN_CLIP}{model}/{tag}" for model, tag in open_clip.list_pretrained()]
        nearest = ", ".join(difflib.get_close_matches(name, known)) or known[0]
        raise ValueError(
            f"open_clip has no weights {name}; write {OPEN_CLIP}<model>/<weights>. Nearest: {nearest}"
        )
    try:
        config = CLIPConfig.from_open_clip(open_clip.get_model_config(model), facts.get("quick_gelu", False))
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}") from error

    note = ""
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    if (tuple(facts.get("mean", mean)), tuple(facts.get("std", std))) != (mean, std):
        note = (
            f"{name} was trained on images that were normalised otherwise: set INPUT.PIXEL_MEAN to "
            f"{list(facts['mean'])} and INPUT.PIXEL_STD to {list(facts['std'])}"
        )
    return PublishedModel(name, config, facts.get("hf_hub", "").rstrip("/"), facts.get("url", ""), note=note)


def find_local(name: str) -> Path | None:
    """The file of a name or path if it is on this machine."""
    published = find_published(name)
    if published is None:
        path = BUNDLED.get(name, Path(name).expanduser())
        return path if path.is_file() else None
    if published.archive_path.is_file():
        return published.archive_path
    if published.hub:
        from huggingface_hub import try_to_load_from_cache

        for file in HUB_FILES:
            path_in_cache = try_to_load_from_cache(published.hub, file)
            if isinstance(path_in_cache, str):
                return Path(path_in_cache)
    return None


def published_model(name: str) -> PublishedModel:
    """The published CLIP of a name; a ValueError lists the names that are known."""
    published = find_published(name)
    if published is None:
        nearest = difflib.get_close_matches(name, available_models(), n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {name!r}, which is neither a known name nor a file.{hint} "
            f"Known names: {', '.join(available_models())}, {OPEN_CLIP}<model>/<weights>."
        )
    return published


def fetch(name: str) -> Path:
    """The file of a name or path, fetched if it is not on this machine.

    Raises:
        ValueError: there is no such name or file.
        WeightsNotFoundError: the file could not be fetched.
    """
    path = find_local(name)
    if path is not None:
        return path
    published = published_model(name)
    import gdown
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils import EntryNotFoundError

    is_offline, failures = constants.HF_HUB_OFFLINE, []
    if is_offline:
        failures.append("HF_HUB_OFFLINE is set")
    for file in HUB_FILES if published.hub and not is_offline else ():
        print(f"Fetching {name}: {file} of {published.hub} on the Hugging Face hub")
        try:
            get_hf_file_metadata(hf_hub_url(published.hub, file), timeout=TIMEOUT[0])  # tries but once
            return Path(hf_hub_download(published.hub, file, etag_timeout=TIMEOUT[1]))
        except Exception as error:  # the hub's client raises the errors of its HTTP library
            failures.append(f"{published.hub}/{file}: {error}")
            if not isinstance(error, EntryNotFoundError):
                break
    if published.url and not is_offline:
        print(f"Fetching {name}: {published.url}")
        path, sha256 = published.archive_path, f"sha256:{published.sha256}" if published.sha256 else None
        try:
            gdown.cached_download(
                published.url, str(path), hash=sha256, timeout=TIMEOUT, retries=1, use_cookies=False
            )
            return path
        except (gdown.DownloadError, OSError, AssertionError) as error:  # AssertionError: another SHA-256
            failures.append(f"{published.url}: {error}")

    places = [str(published.archive_path)] if published.url else []
    places += [f"{published.hub} in {constants.HF_HUB_CACHE}"] if published.hub else []
    lines = [f"The CLIP weights {name} are not on this machine. Looked for: {'; '.join(places)}"]
    lines += [f"Fetching failed: {' '.join(failure.split())[:400]}" for failure in failures]
    lines.append(
        f"Run `python -m prepare weights {name}` on a machine with a network and copy the file to the same "
        "place; or give the path of a file: MODEL.BACKBONE.NAME path/to/weights"
    )
    raise WeightsNotFoundError("\n".join(lines))
