"""The settings by which savings of time and memory are turned on and off; none changes a result beyond rounding."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from clip.fast import FastPaths


def extend_cfg(cfg: Any) -> None:
    """Declare ``SPEED``."""
    cfg.SPEED = CfgNode()
    cfg.SPEED.TRIM_TEXT = True  # text positions behind the last end mark are not computed
    cfg.SPEED.PACK_TEXT = True  # words that all class prompts have in common are computed once, and no padding
    cfg.SPEED.READ_ONE_TOKEN = True  # the last block of a ViT computes the class token alone
    cfg.SPEED.AVOID_CUDNN_ATTENTION = True  # on a GPU, attention is not cuDNN's, which plans for each length of sequence anew
    cfg.SPEED.CACHE_TEXT = True  # class prompts are encoded once in an evaluation, and once in a run where nothing is learned in them (VPT)
    # The features of val and test pictures are computed once where no prompt is among the patches (CoOp, CoCoOp, zero-shot), and kept between runs in
    # DATALOADER.CACHE_DIR.
    cfg.SPEED.CACHE_IMAGE_FEATURES = True
    # On a GPU, all kernels of a training step are launched at once (trainers/graphs.py); the memory of a step then stays taken during evaluations and
    # batches of another size. Off, since it is not yet measured.
    cfg.SPEED.RECORD_STEPS = False


def fast_paths(cfg: Any) -> FastPaths:
    """What ``cfg.SPEED`` asks of CLIP; everything where the config has no such node."""
    speed = cfg.get("SPEED")
    if speed is None:
        return FastPaths()
    return FastPaths(speed.TRIM_TEXT, speed.PACK_TEXT, speed.READ_ONE_TOKEN, speed.AVOID_CUDNN_ATTENTION)


def caches_text(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` lets an evaluation keep its text features; so it does where the config has no such node."""
    return "SPEED" not in cfg or cfg.SPEED.CACHE_TEXT


def caches_image_features(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` lets evaluations keep features of pictures; so it does where the config has no such node."""
    return "SPEED" not in cfg or cfg.SPEED.CACHE_IMAGE_FEATURES


def records_steps(cfg: Any) -> bool:
    """Whether ``cfg.SPEED`` wants training steps recorded; not where the config has no such node."""
    return "SPEED" in cfg and cfg.SPEED.RECORD_STEPS
