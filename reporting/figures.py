"""Figures of result tables, drawn by matplotlib: each function gives a `Figure`, and `save` writes it as PNG and SVG.

A method has one colour everywhere, of the palette of Okabe and Ito (2008, "Color Universal Design"), which people with colour-blindness tell apart;
no figure tells anything by colour alone.
"""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .aggregate import AVERAGE, ResultTable
from .pivot import PivotTable
from .protocols import UNTRAINED_SHOTS
from .runs import HALVES

COLOURS = {  # Okabe and Ito's eight, with grey for what is not trained
    "ZeroshotCLIP": "#6E6E6E", "ZeroshotCLIP2": "#A0A0A0", "CoOp": "#E69F00", "CoCoOp": "#56B4E9", "VPT": "#CC79A7", "IVLP": "#000000",
    "MaPLe": "#009E73", "PromptSRC": "#0072B2", "MPL": "#D55E00",
}  # fmt: skip
OTHER_COLOURS = ("#8C6D1F", "#5B4B9A", "#2F6B5A", "#9A3B3B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.labelcolor": "#333333", "xtick.color": "#333333", "ytick.color": "#333333",
    "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.8, "axes.axisbelow": True, "figure.facecolor": "white",
    "svg.fonttype": "path", "svg.hashsalt": "modular-prompt-learning", "savefig.dpi": 160,
}  # fmt: skip
WIDTH = 5.4  # inches: on a phone's 375 pixels, letters of 10 points are then some 9 pixels high


def styled(draw):
    """Draw with the project's style, whatever matplotlib is set to elsewhere."""

    def inner(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    inner.__doc__, inner.__name__ = draw.__doc__, draw.__name__
    return inner


def colour_of(method: str, others: Sequence[str] = ()) -> str:
    """A method's colour; of an unknown one, by its place among `others`."""
    unknown = sorted(set(others) - set(COLOURS))
    return COLOURS.get(method) or OTHER_COLOURS[unknown.index(method) % len(OTHER_COLOURS) if method in unknown else 0]
