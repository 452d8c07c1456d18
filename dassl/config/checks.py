"""The ranges of the engine's numbers, checked before anything is built."""

import math
import reprlib
from collections.abc import Callable
from typing import Any

from .node import ConfigError

_RULES: dict[str, Callable[[Any], bool]] = {
    "above 0": lambda value: value > 0,
    "0 or more": lambda value: value >= 0,
    "1 or more": lambda value: value >= 1,
    "-1 or more": lambda value: value >= -1,
}

_RANGES = {
    "SEED": "-1 or more",
    "OPTIM.MAX_EPOCH": "1 or more",
    "OPTIM.LR": "above 0",
    "OPTIM.MOMENTUM": "0 or more",
    "OPTIM.WEIGHT_DECAY": "0 or more",
    "DATALOADER.NUM_WORKERS": "0 or more",
    "DATALOADER.K_TRANSFORMS": "1 or more",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "1 or more",
    "DATALOADER.TRAIN_U.BATCH_SIZE": "1 or more",
    "DATALOADER.TEST.BATCH_SIZE": "1 or more",
}


def check_ranges(cfg: Any) -> None:
    """Refuse numbers that no run can use.

    Raises:
        ConfigError: lists every setting that is out of its range, with its value and the range.
    """
    mistakes = []
    for key, accepted in _RANGES.items():
        value = cfg
        for name in key.split("."):
            value = value[name]
        if not (math.isfinite(value) and _RULES[accepted](value)):
            finite = " and finite" if isinstance(value, float) else ""
            mistakes.append(f"\n  - {key} = {value!r}: accepted: {accepted}{finite}")
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        values = cfg.INPUT[key]
        if len(values) != 3 or not all(type(v) in (int, float) and math.isfinite(v) and (v > 0 or key == "PIXEL_MEAN") for v in values):
            mistakes.append(
                f"\n  - INPUT.{key} = {reprlib.repr(values)}: accepted: three finite numbers{', above 0' if key == 'PIXEL_STD' else ''}"
            )
    if mistakes:
        raise ConfigError(f"settings out of range:{''.join(mistakes)}")
