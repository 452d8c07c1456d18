"""Prompt files of every method in the bundled Tiny-Shapes, as they are drawn and without training, and simple pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

import clip
from classify import PromptClassifier
from classify.building import default_cfg, trainer_class
from clip import CLIP
from trainers.backbone import BackboneIdentity
from trainers.prompt_file import PromptFile, input_settings

NAMES = ("red circle", "blue star", "green square", "yellow heart")
SETTINGS: dict[str, dict[str, Any]] = {
    "MPL": {"MPL.N_CTX": 1, "MPL.N_ADD_OP": 2, "MPL.N_RM_OP": 1, "MPL.PROMPT_DEPTH": 6},
    "MaPLe": {"MAPLE.PROMPT_DEPTH": 4},
    "IVLP": {"IVLP.PROMPT_DEPTH_TEXT": 3, "IVLP.PROMPT_DEPTH_VISION": 4},
    "VPT": {"VPT.N_CTX_VISION": 3, "VPT.PROMPT_DEPTH_VISION": 2},
    "CoOp": {"COOP.N_CTX": 4},
    "CoCoOp": {"COCOOP.CTX_INIT": "a photo of a"},
    "PromptSRC": {"PROMPTSRC.PROMPT_DEPTH_TEXT": 3, "PROMPTSRC.PROMPT_DEPTH_VISION": 3},
}


@lru_cache(maxsize=1)
def tiny_clip() -> CLIP:
    """The bundled CLIP, float32, one for all that do not change it."""
    return clip.load("Tiny-Shapes")


@lru_cache(maxsize=1)
def _identity() -> BackboneIdentity:
    return BackboneIdentity.of(tiny_clip(), "Tiny-Shapes")


@lru_cache
def classifier_of(method: str) -> PromptClassifier:
    """The classifier of :func:`prompt_file`; its class names must stay."""
    return PromptClassifier(prompt_file(method), tiny_clip())


def prompt_file(method: str = "MPL", seed: int = 3, **about: Any) -> PromptFile:
    """What a run of ``method`` with ``seed`` would start from."""
    cfg = default_cfg()
    size = ("INPUT.SIZE", (64, 64), "INPUT.TRANSFORMS", ("normalize",))
    pixels = ("INPUT.PIXEL_MEAN", [0.48145466, 0.4578275, 0.40821073], "INPUT.PIXEL_STD", [0.26862954, 0.26130258, 0.27577711])
    settings = {f"TRAINER.{key}": value for key, value in SETTINGS[method].items()}
    cfg.merge_from_list(["TRAINER.NAME", method, *size, *pixels, *(item for pair in settings.items() for item in pair)])
    trainer = trainer_class(method)
    torch.manual_seed(seed)
    learner = trainer.build_prompt_learner(cfg, tiny_clip(), list(NAMES))
    about = {"dataset": "Shapes", "subsample": "base", "shots": 16, "seed": seed, "accuracy": 73.9} | about
    return PromptFile(
        method=method,
        settings=trainer.prompt_settings(cfg),
        backbone=_identity(),
        classnames=NAMES,
        input=input_settings(cfg),
        learned={name: p.detach() for name, p in learner.published_names().items()},
        **about,
    )


def write_prompts(folder: Path, method: str = "MPL", **about: Any) -> Path:
    """The file of :func:`prompt_file`."""
    return prompt_file(method, **about).write(folder / f"{method}.safetensors")


def circle(column: int, row: int, side: int = 64) -> Image.Image:
    """A red circle in one quadrant (column and row, 0 or 1) of a grey picture."""
    picture = Image.new("RGB", (side, side), (128, 128, 128))
    left, top, radius = column * side // 2, row * side // 2, side // 2 - 3
    ImageDraw.Draw(picture).ellipse((left + 3, top + 3, left + radius, top + radius), fill=(220, 30, 30))
    return picture
