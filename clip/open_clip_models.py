"""The CLIPs that open_clip publishes: from ``open_clip:ViT-B-16/laion2b_s34b_b88k`` to a weights file and the sizes of our towers.

The installed open_clip gives its lists (models, tags, addresses) and fetches the file; the towers are ours. They are a plain ViT or CLIP's ResNet with
CLIP's text transformer, so a configuration that asks for anything else is refused by the name of the setting, before anything is fetched.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checksums import cache_dir, remembered_sha256
from .config import HEAD_WIDTH, CLIPConfig
from .download import Known, check_answers, download

PREFIX = "open_clip:"
VOCABULARY = 49408  # token ids of clip/tokenizer.py, the only vocabulary that class names can be written in here
MAX_REASONS = 20  # that one message names, of each group of settings
MAX_SIZE = 100_000  # of any width, depth or count in a configuration; our choice: the largest is the vocabulary
# What open_clip takes where a configuration is silent (CLIPVisionCfg and CLIPTextCfg of its model.py).
VISION_SIZES = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
TEXT_SIZES = {"context_length": 77, "vocab_size": VOCABULARY, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}

# Settings that our towers have with one value alone, and what another would mean.
_BLOCKS = {
    "ls_init_value": (None, "a learned scale after each layer"),
    "act_kwargs": (None, "another form of the activation"),
    "norm_kwargs": (None, "another form of the layer norms"),
    "block_type": (None, "another kind of attention block"),
    "qk_norm": (False, "norms of queries and keys"),
    "scaled_cosine_attn": (False, "cosine attention"),
    "scale_heads": (False, "a learned scale of each head"),
    "scale_attn_inner": (False, "a norm inside of the attention"),
    "scale_attn": (False, "a norm after the attention"),
    "scale_fc": (False, "a norm inside of the MLP"),
    "final_ln_after_pool": (False, "the last norm after the pooling"),
    "output_tokens": (False, "features of all tokens beside the pooled one"),
}
VISION_FIXED: dict[str, tuple[Any, str]] = {
    "timm_model_name": (None, "an image tower of timm"),
    "attentional_pool": (False, "attention pooling after a ViT"),
    "no_ln_pre": (False, "no norm before the first layer"),
    "input_patchnorm": (False, "a norm of the patches"),
    "global_average_pool": (False, "the mean of the patches in place of the class token"),
    "pos_embed_type": ("learnable", "positions that are not learned"),
    "pool_type": ("tok", "another token than the class token"),
    **_BLOCKS,
}
TEXT_FIXED: dict[str, tuple[Any, str]] = {
    "hf_model_name": (None, "a text tower of Hugging Face's transformers"),
    "hf_tokenizer_name": (None, "another vocabulary than CLIP's"),
    "tokenizer_mode": (None, "text prepared in another way than CLIP's"),
    "tokenizer_kwargs": (None, "text prepared in another way than CLIP's"),
    "vocab_size": (VOCABULARY, "another vocabulary than CLIP's"),
    "embed_cls": (False, "a class token in the text tower"),
    "no_causal_mask": (False, "a text tower in which words see later words"),
    "pool_type": ("argmax", "text features from another place than the end mark"),
    "proj_type": ("linear", "no linear projection of the text features"),
    "proj_bias": (False, "a bias in the projection of the text features"),
    **_BLOCKS,
}
MODEL_FIXED: dict[str, tuple[Any, str]] = {
    "multimodal_cfg": (None, "CoCa, which has a third tower"),
    "custom_text": (False, "open_clip's CustomTextCLIP, whose text tower is of another kind"),
    "init_logit_bias": (None, "a bias of the logits"),
    "nonscalar_logit_scale": (False, "a scale of the logits that is no single number"),
}
# Settings that change nothing here: of parts that a refused setting would switch on, of training alone, or replaced by the weights.
IGNORED = {"patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "pad_id", "eos_id", "init_logit_scale"}
IGNORED_PREFIXES = ("timm_", "hf_")


class UnsupportedModelError(ValueError):
    """A configuration of open_clip's asks for what our towers do not have; the message names each setting."""


def clip_config(model_cfg: Mapping[str, Any], quick_gelu: bool, source: str) -> CLIPConfig:
    """The sizes of a CLIP that a configuration of open_clip's describes.

    Args:
        model_cfg: ``embed_dim``, ``vision_cfg`` and ``text_cfg``, as ``open_clip.get_model_config`` and the ``open_clip_config.json`` of the hub give them.
        quick_gelu: the activation that the weights were trained with.
        source: the setting or the file that it comes from, for messages.

    Raises:
        UnsupportedModelError: it asks for something that our towers do not have.
    """
    reasons = reasons_against(model_cfg)
    if reasons:
        raise UnsupportedModelError(
            f"{source} is no plain CLIP, and the towers here would compute something else: {'; '.join(reasons)}. "
            "Use a ViT or a ResNet that open_clip publishes without these, such as open_clip:ViT-B-16/laion2b_s34b_b88k."
        )
    vision, text = {**VISION_SIZES, **model_cfg["vision_cfg"]}, {**TEXT_SIZES, **model_cfg["text_cfg"]}
    has_vit = isinstance(vision["layers"], int)
    vision_heads = vision["width"] // vision["head_width"] if has_vit else vision["width"] * 32 // vision["head_width"]
    image_size = vision["image_size"]
    return CLIPConfig(
        embed_dim=model_cfg["embed_dim"],
        image_size=image_size if isinstance(image_size, int) else image_size[0],
        vision_layers=vision["layers"] if has_vit else tuple(vision["layers"]),
        vision_width=vision["width"],
        patch_size=vision["patch_size"] if has_vit else None,
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        text_width=text["width"],
        text_layers=text["layers"],
        quick_gelu=quick_gelu,
        vision_heads=None if vision["head_width"] == HEAD_WIDTH else vision_heads,
        text_heads=None if text["heads"] * HEAD_WIDTH == text["width"] else text["heads"],
        vision_mlp_width=_mlp_width(vision) if has_vit else None,
        text_mlp_width=_mlp_width(text),
    )


def _mlp_width(sizes: Mapping[str, Any]) -> int | None:
    """Inner width of the MLPs, cut to an integer as open_clip cuts it; None for 4 times the width."""
    inner = int(sizes["width"] * sizes["mlp_ratio"])
    return None if inner == 4 * sizes["width"] else inner


def reasons_against(model_cfg: Mapping[str, Any]) -> list[str]:
    """Why our towers cannot be what a configuration of open_clip's asks for, a setting each; empty if they can."""
    reasons = [f"{key} is missing" for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model_cfg]
    reasons += [f"{key} is no object" for key in ("vision_cfg", "text_cfg") if not isinstance(model_cfg.get(key, {}), Mapping)]
    if reasons:
        return reasons
    known = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    reasons += _other_settings("", model_cfg, known, MODEL_FIXED)
    reasons += _other_settings("vision_cfg.", model_cfg["vision_cfg"], set(VISION_SIZES), VISION_FIXED)
    reasons += _other_settings("text_cfg.", model_cfg["text_cfg"], set(TEXT_SIZES) - {"vocab_size"}, TEXT_FIXED)
    vision = {**VISION_SIZES, **model_cfg["vision_cfg"]}
    size = vision["image_size"]
    if isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_size, size)) and size[0] != size[1]:
        reasons.append(f"vision_cfg.image_size is {size} (pictures that are not square)")
    return reasons + _wrong_sizes(model_cfg["embed_dim"], vision, {**TEXT_SIZES, **model_cfg["text_cfg"]})


def _wrong_sizes(embed_dim: Any, vision: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    """Which sizes are no whole numbers from 1 to `MAX_SIZE`, or no positive ratio."""
    layers, image_size = vision["layers"], vision["image_size"]
    is_resnet = isinstance(layers, list | tuple)
    sizes = {"embed_dim": embed_dim} | {f"vision_cfg.{key}": vision[key] for key in ("width", "head_width")}
    if is_resnet:
        sizes |= {f"vision_cfg.layers[{i}]": n for i, n in enumerate(layers)}
    else:
        sizes |= {f"vision_cfg.{key}": vision[key] for key in ("layers", "patch_size")}
    is_pair = isinstance(image_size, list | tuple) and len(image_size) == 2
    sizes |= {f"vision_cfg.image_size[{i}]": n for i, n in enumerate(image_size)} if is_pair else {"vision_cfg.image_size": image_size}
    sizes |= {f"text_cfg.{key}": text[key] for key in ("context_length", "width", "heads", "layers")}
    wrong = [
        f"{key} is {_short(value)} (a whole number from 1 to {MAX_SIZE:,} is needed)" for key, value in sizes.items() if not _is_size(value)
    ]
    if is_resnet and len(layers) != 4:
        wrong.append(f"vision_cfg.layers is {_short(layers)} (a ResNet has four stages)")
    if not wrong and (vision["width"] * (32 if is_resnet else 1)) % vision["head_width"]:
        wrong.append(f"vision_cfg.head_width is {vision['head_width']} (the width, {vision['width']}, is no multiple of it)")
    if not wrong and text["width"] % text["heads"]:
        wrong.append(f"text_cfg.heads is {text['heads']} (the width, {text['width']}, is no multiple of it)")
    for tower, ratio in (("vision_cfg", vision["mlp_ratio"]), ("text_cfg", text["mlp_ratio"])):
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= MAX_SIZE:
            wrong.append(f"{tower}.mlp_ratio is {_short(ratio)} (a positive number is needed)")
    return wrong


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIZE


def _other_settings(prefix: str, settings: Mapping[str, Any], known: set[str], fixed: Mapping[str, tuple[Any, str]]) -> list[str]:
    reasons = []
    for key, value in settings.items():
        if key in fixed:
            accepted, meaning = fixed[key]
            if value != accepted:
                reasons.append(f"{prefix}{key} is {_short(value)} ({meaning})")
        elif key not in known and key not in IGNORED and not key.startswith(IGNORED_PREFIXES):
            reasons.append(f"{prefix}{_short(key)[1:-1]} is {_short(value)} (a setting that this project does not know)")
    return reasons[:MAX_REASONS]


def _short(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


@dataclass(frozen=True)
class OpenClipWeights:
    """One set of weights that open_clip publishes for a model that our towers can be.

    Args:
        name: as given in ``MODEL.BACKBONE.NAME``.
        model, tag: open_clip's names of the two.
        config: all sizes.
        facts: open_clip's entry: ``hf_hub``, ``url`` or ``file``, ``mean``, ``std``, ``quick_gelu`` and more.
        notes: what a person should know before comparing numbers, a line each.
    """

    name: str
    model: str
    tag: str
    config: CLIPConfig
    facts: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def hub(self) -> tuple[str, tuple[str, ...]]:
        """The hub's repository, ``""`` if there is none, and the files looked for in it, the preferred first."""
        from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

        repository, file = os.path.split(self.facts.get("hf_hub", ""))
        return repository, (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)

    @property
    def url_path(self) -> Path | None:
        """Where open_clip keeps the file of its web address; None if it has none."""
        url = self.facts.get("url", "")
        return cache_dir() / os.path.basename(url) if url else None

    def find_local(self) -> Path | None:
        """The file if it is already on this machine, in the hub's cache or open_clip's; nothing is fetched or read."""
        from huggingface_hub import try_to_load_from_cache

        if "file" in self.facts:  # weights that a person has registered with open_clip
            return Path(self.facts["file"])
        repository, files = self.hub
        for file in files if repository else ():
            found = try_to_load_from_cache(repository, file)
            if isinstance(found, str):
                return Path(found)
        return self.url_path if self.url_path is not None and self.url_path.is_file() else None

    def sources(self) -> list[tuple[str, Callable[[], Path]]]:
        """Where the file can be fetched from, the preferred first: a description and what fetches it."""
        sources = []
        if self.facts.get("hf_hub"):
            sources.append((f"the hub ({self.hub[0]})", self._fetch_from_hub))
        if self.facts.get("url"):
            sources.append((self.facts["url"], self._fetch_from_url))
        return sources

    def _fetch_from_hub(self) -> Path:
        """By open_clip, which knows the names that its files have on the hub."""
        from huggingface_hub import hf_hub_url
        from open_clip.pretrained import download_pretrained

        repository, files = self.hub
        check_answers(hf_hub_url(repository, files[0]))
        return Path(download_pretrained(dict(self.facts)))

    def _fetch_from_url(self) -> Path:
        """The file where open_clip keeps it, if its hash is right; else fetched here: open_clip's own download may wait for ever and leave half a file."""
        path, url = self.url_path, self.facts["url"]
        assert path is not None
        # The address says how the hash begins: OpenAI's has a part of 64 digits, open_clip's file names end in 8.
        found = re.search(r"/([0-9a-f]{64})/|-([0-9a-f]{8,64})\.pth?$", url)
        sha256 = (found[1] or found[2]) if found else None
        if path.is_file() and (sha256 is None or remembered_sha256(path).startswith(sha256)):
            return path
        return download(url, path, Known(sha256=sha256))

    def missing_message(self, failures: Sequence[str] = ()) -> str:
        """What to tell a person whose weights are not here."""
        repository, files = self.hub
        places = ([f"{' or '.join(files)} of {repository} in the hub's cache"] if repository else []) + (
            [str(self.url_path)] if self.url_path else []
        )
        tried = "Fetching them failed:\n" + "\n".join(failures) + "\n" if failures else ""
        return (
            f"The weights {self.name} are not on this machine.\nLooked for: {' and '.join(places)}.\n{tried}"
            f"To get them: on a machine with a network, run `python tools/prepare.py --weights {self.name}` and copy the cache; "
            "or give a weights file by path, with its open_clip_config.json beside it: MODEL.BACKBONE.NAME path/to/weights."
        )


def resolve(name: str) -> OpenClipWeights:
    """The weights that ``open_clip:<model>/<tag>`` names.

    Raises:
        ValueError: open_clip is not installed, or has no such model or no such weights of it.
        UnsupportedModelError: the model is none that our towers can be.
    """
    try:
        import open_clip
    except ImportError as e:
        raise ValueError(
            f"MODEL.BACKBONE.NAME {name} needs open_clip, whose lists say where these weights are: pip install 'open_clip_torch>=2.29'"
        ) from e
    model, _, tag = name.removeprefix(PREFIX).rpartition("/")
    model = model.replace("/", "-")  # ViT-B/16/openai and ViT-B-16/openai are the same, as in open_clip
    if not model:
        model, tag = tag, ""
    model_cfg = open_clip.get_model_config(model) if model in open_clip.list_models() else None
    if model_cfg is None:
        raise ValueError(f"MODEL.BACKBONE.NAME is {name!r}, but open_clip has no model {model!r}.{_nearest(model, _published_models())}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    facts = open_clip.pretrained.get_pretrained_cfg(model, tag)
    if not facts:
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {name!r}, but open_clip publishes no weights {tag!r} of {model}.{_nearest(tag, tags)} "
            f"Write {PREFIX}<model>/<weights>; the weights of {model}: {', '.join(tags) or 'none'}."
        )
    quick_gelu = bool(facts.get("quick_gelu", False))
    config = clip_config(model_cfg, quick_gelu, f"MODEL.BACKBONE.NAME {name}")
    return OpenClipWeights(name, model, tag, config, facts, _notes(name, model_cfg, facts))


def _published_models() -> list[str]:
    """Models that open_clip publishes weights of and that our towers can be."""
    import open_clip

    models = dict.fromkeys(model for model, _ in open_clip.list_pretrained())
    return [m for m in models if not reasons_against(open_clip.get_model_config(m) or {})]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
    return f" Nearest: {', '.join(near)}." if near else ""


def _notes(name: str, model_cfg: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the weights want another picture or activation than the configs and open_clip's model of this name have."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    notes = []
    mean, std = facts.get("mean", OPENAI_DATASET_MEAN), facts.get("std", OPENAI_DATASET_STD)
    if tuple(mean) != OPENAI_DATASET_MEAN or tuple(std) != OPENAI_DATASET_STD:
        notes.append(
            f"{name} was trained on pictures normalised otherwise than OpenAI's CLIP: set INPUT.PIXEL_MEAN to {list(mean)} and "
            f"INPUT.PIXEL_STD to {list(std)}, or accuracies will be lower than they could be."
        )
    if facts.get("resize_mode", "shortest") != "shortest":
        notes.append(
            f"{name} is tested by open_clip on whole pictures pressed into a square ({facts['resize_mode']}), here on their centre (INPUT.TRANSFORMS)."
        )
    if bool(facts.get("quick_gelu", False)) != bool(model_cfg.get("quick_gelu", False)):
        trained = "QuickGELU" if facts.get("quick_gelu") else "GELU"
        notes.append(
            f"{name} was trained with {trained}, which is used; open_clip's model of this name computes with the other activation."
        )
    return tuple(notes)
