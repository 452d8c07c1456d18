"""The settings by which savings of time and memory are turned on and off; none changes a result beyond rounding."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode


def extend_cfg(cfg: Any) -> None:
    """Declare ``SPEED``."""
    cfg.SPEED = CfgNode()
    cfg.SPEED.CACHE_TEXT = True  # class prompts are encoded once in an evaluation, and once in a run where nothing is learned in them (VPT)
    # The features of val and test pictures are computed once where no prompt is among the patches (CoOp, CoCoOp, zero-shot), and kept between runs in
    # DATALOADER.CACHE_DIR.
    cfg.SPEED.CACHE_IMAGE_FEATURES = True
    # On a GPU, all kernels of a training step are launched at once (trainers/graphs.py); the memory of a step then stays taken during evaluations and
    # batches of another size. Off, since it is not yet measured.
    cfg.SPEED.RECORD_STEPS = False


def caches_text(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` lets an evaluation keep its text features; so it does where the config has no such node."""
    return "SPEED" not in cfg or cfg.SPEED.CACHE_TEXT


def caches_image_features(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` lets evaluations keep features of pictures; so it does where the config has no such node."""
    return "SPEED" not in cfg or cfg.SPEED.CACHE_IMAGE_FEATURES


def records_steps(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` wants training steps recorded; not where the config has no such node."""
    return "SPEED" in cfg and cfg.SPEED.RECORD_STEPS
