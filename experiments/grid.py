"""Grids of settings: `KEY=a,b,c` on the command line gives every combination."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from .run import Pairs, Run, config_of


def read_axis(text: str) -> tuple[str, list[str]]:
    """KEY and values of `KEY=a,b,c`; `KEY=[1,2],[2,1]` has two values."""
    key, _, rest = text.partition("=")
    values = [value.strip() for value in re.findall(r"(?:\[[^\]]*\]|\([^)]*\)|[^,\[\](])+", rest)]
    if not re.fullmatch(r"[A-Z]\w*(\.\w+)*", key) or not values or "" in values:
        raise ValueError(f"--grid takes KEY=a,b,c, such as TRAINER.MPL.N_ADD_OP=1,2; received {text!r}")
    return key, values


def points(texts: Sequence[str]) -> dict[str, Pairs]:
    """Name -> settings of all combinations; without `texts`, one that has neither.

    A name such as `N_ADD_OP=1,N_RM_OP=0` is that of a folder; whole keys stand where their last words agree.
    """
    axes = [read_axis(text) for text in texts]
    keys = [key for key, _ in axes]
    short = [key.rpartition(".")[2] for key in keys]
    names = short if len(set(short)) == len(short) else keys
    found: dict[str, Pairs] = {}
    for values in itertools.product(*(values for _, values in axes)):
        cleaned = [re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("_") for value in values]
        name = ",".join(f"{key}={value}" for key, value in zip(names, cleaned, strict=True))
        found[name] = tuple(zip(keys, values, strict=True))
    return found


def refusal(runs: Sequence[Run]) -> str:
    """Why a method refuses the settings of `runs`; empty if none does.

    The schedules of prompts are built for each config that the runs have, without weights.
    """
    from .schedule import build_schedules

    for run in {(run.method, run.config): run for run in runs}.values():
        try:
            build_schedules(config_of(run, Path("data"), Path("output")))
        except (ValueError, TypeError, LookupError, OSError) as error:
            return str(error).replace("\n", " ")
    return ""
