"""The config tree: defaults, and merging that refuses unknown keys and values of another type."""

from .defaults import get_cfg_default
from .node import CfgNode


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Remove the settings of every other trainer from `cfg.TRAINER`, so that a printed config is short."""
    for key in list(cfg.TRAINER):
        if key not in ("NAME", trainer.upper()):
            cfg.TRAINER.pop(key)


__all__ = ["CfgNode", "clean_cfg", "get_cfg_default"]
