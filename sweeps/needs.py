"""What runs need that is not on this machine: datasets and CLIP weights, with the command that fetches them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from .estimate import work_of
from .plan import Run

# clip and torch are imported where weights are looked for, so that a sweep starts at once.


def lines_of_what_is_missing(runs: Sequence[Run], root: Path) -> list[str]:
    """Two lines for the datasets of ``runs`` that are not, or not wholly, in ``root``, and two for their weights: what is missing, and the command.

    A dataset that nothing fetches, such as one's own pictures, is left to its reader.
    """
    from preparation.sources import load_table

    table = load_table()
    names = dict.fromkeys(run.launch.dataset for run in runs)
    absent = [name for name in names if name in table and table[name].missing(root)]
    lines = []
    if absent:
        lines += [
            f"Not in {root}, or not all of it ({len(absent)}): {', '.join(absent)}",
            f"  to get them: python tools/prepare.py {' '.join(absent)} --root {shlex.quote(str(root))}",
        ]
    weights = _missing_weights(runs)
    if weights:
        quoted = " ".join(map(shlex.quote, weights))
        lines += [f"CLIP weights not on this machine: {', '.join(weights)}", f"  to get them: python tools/prepare.py --weights {quoted}"]
    return lines


def _missing_weights(runs: Sequence[Run]) -> list[str]:
    """The backbones of ``runs`` that are neither files nor in a cache."""
    from clip.weights import find_local

    found = []
    for name in dict.fromkeys(work_of(run).backbone for run in runs):
        try:
            if name and find_local(name) is None:
                found.append(name)
        except ValueError:  # one that cannot be had without open_clip, which the run tells
            found.append(name)
    return found
