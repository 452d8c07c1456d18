"""The ranges of the engine's numbers, checked before anything is built."""

import math
import reprlib
from collections.abc import Callable, Iterator
from typing import Any

from .node import ConfigError

_RULES: dict[str, Callable[[Any], bool]] = {
    "above 0": lambda value: value > 0,
    "0 or more": lambda value: value >= 0,
    "1 or more": lambda value: value >= 1,
    "-1 or more": lambda value: value >= -1,
    "0 to 1": lambda value: 0 <= value <= 1,
    "0 or more and below 1": lambda value: 0 <= value < 1,
    "0 to 0.5": lambda value: 0 <= value <= 0.5,
    "0 to 30": lambda value: 0 <= value <= 30,
    "odd": lambda value: value > 0 and value % 2 == 1,
}

_RANGES = {
    "SEED": "-1 or more",
    "OPTIM.MAX_EPOCH": "1 or more",
    "OPTIM.LR": "above 0",
    "OPTIM.MOMENTUM": "0 or more",
    "OPTIM.WEIGHT_DECAY": "0 or more",
    "OPTIM.SGD_DAMPNING": "0 or more",
    "OPTIM.RMSPROP_ALPHA": "0 or more and below 1",
    "OPTIM.ADAM_BETA1": "0 or more and below 1",
    "OPTIM.ADAM_BETA2": "0 or more and below 1",
    "OPTIM.BASE_LR_MULT": "0 or more",
    "OPTIM.GAMMA": "above 0",
    "OPTIM.WARMUP_CONS_LR": "0 or more",
    "OPTIM.WARMUP_MIN_LR": "0 or more",
    "INPUT.CROP_PADDING": "0 or more",
    "INPUT.CUTOUT_N": "0 or more",
    "INPUT.CUTOUT_LEN": "0 or more",
    "INPUT.GN_STD": "0 or more",
    "INPUT.RANDAUGMENT_N": "0 or more",
    "INPUT.RANDAUGMENT_M": "0 to 30",
    "INPUT.COLORJITTER_B": "0 or more",
    "INPUT.COLORJITTER_C": "0 or more",
    "INPUT.COLORJITTER_S": "0 or more",
    "INPUT.COLORJITTER_H": "0 to 0.5",
    "INPUT.RGS_P": "0 to 1",
    "INPUT.GB_P": "0 to 1",
    "INPUT.GB_K": "odd",
    "DATALOADER.NUM_WORKERS": "0 or more",
    "DATALOADER.K_TRANSFORMS": "1 or more",
    "DATALOADER.CACHE_GIB": "0 or more",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "1 or more",
    "DATALOADER.TRAIN_U.BATCH_SIZE": "1 or more",
    "DATALOADER.TEST.BATCH_SIZE": "1 or more",
}


def check_ranges(cfg: Any) -> None:
    """Refuse numbers that no run can use.

    Raises:
        ConfigError: lists every setting that is out of its range, with its value and the range.
    """
    mistakes = [*_numbers_out_of_range(cfg), *_groups_out_of_range(cfg.INPUT)]
    if mistakes:
        raise ConfigError("".join(["settings out of range:", *(f"\n  - {mistake}" for mistake in mistakes)]))


def _numbers_out_of_range(cfg: Any) -> Iterator[str]:
    for key, accepted in _RANGES.items():
        value = cfg
        for name in key.split("."):
            value = value[name]
        if not (math.isfinite(value) and _RULES[accepted](value)):
            finite = " and finite" if isinstance(value, float) else ""
            yield f"{key} = {value!r}: accepted: {accepted}{finite}"


def _groups_out_of_range(settings: Any) -> Iterator[str]:
    """What is wrong with the settings of INPUT that are several numbers each."""
    groups: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "SIZE": ("height and width, whole numbers from 1", lambda v: len(v) == 2 and all(type(n) is int and n >= 1 for n in v)),
        "RRCROP_SCALE": ("two shares of the area, above 0 and up to 1, the smaller first", lambda v: _are(v, 2) and 0 < v[0] <= v[1] <= 1),
        "PIXEL_MEAN": ("three finite numbers", lambda v: _are(v, 3)),
        "PIXEL_STD": ("three finite numbers, above 0", lambda v: _are(v, 3) and min(v) > 0),
    }
    for key, (accepted, suits) in groups.items():
        if not suits(settings[key]):
            yield f"INPUT.{key} = {reprlib.repr(settings[key])}: accepted: {accepted}"


def _are(values: Any, count: int) -> bool:
    """Whether `values` are so many finite numbers."""
    return len(values) == count and all(type(value) in (int, float) and math.isfinite(value) for value in values)
