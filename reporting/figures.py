"""Figures of result tables, drawn by matplotlib: each function gives a `Figure`, and `save` writes it as PNG and SVG.

A method has one colour everywhere, of the palette of Okabe and Ito (2008, "Color Universal Design"), which people with colour-blindness tell apart;
no figure tells anything by colour alone.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib import colors, patches, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from .aggregate import AVERAGE, ResultTable
from .pivot import PivotTable
from .protocols import UNTRAINED_SHOTS
from .runs import HALVES
from .text import lack

P = ParamSpec("P")
R = TypeVar("R")

COLOURS = {  # Okabe and Ito's eight, with grey for what is not trained
    "ZeroshotCLIP": "#6E6E6E", "ZeroshotCLIP2": "#A0A0A0", "CoOp": "#E69F00", "CoCoOp": "#56B4E9", "VPT": "#CC79A7", "IVLP": "#000000",
    "MaPLe": "#009E73", "PromptSRC": "#0072B2", "MPL": "#D55E00",
}  # fmt: skip
OTHER_COLOURS = ("#8C6D1F", "#5B4B9A", "#2F6B5A", "#9A3B3B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 10, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.labelcolor": "#333333", "xtick.color": "#333333", "ytick.color": "#333333",
    "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.8, "axes.axisbelow": True, "figure.facecolor": "white",
    "svg.fonttype": "path", "svg.hashsalt": "modular-prompt-learning", "savefig.dpi": 120,
}  # fmt: skip
WIDTH = 5.4  # inches: on a phone's 375 pixels, letters of 10 points are then some 9 pixels high


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with the project's style, whatever matplotlib is set to elsewhere."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


def colour_of(method: str, others: Sequence[str] = ()) -> str:
    """A method's colour; of an unknown one, by its place among `others`."""
    unknown = sorted(set(others) - set(COLOURS))
    return COLOURS.get(method) or OTHER_COLOURS[unknown.index(method) % len(OTHER_COLOURS) if method in unknown else 0]


def ink(colour: str) -> tuple[float, float, float]:
    """A darker shade of `colour`, for words on white."""
    red, green, blue = (0.68 * part for part in colors.to_rgb(colour))
    return red, green, blue


def plain_ticks(axis) -> None:
    """Numbers at 1, 2, 5, 10, 20, … of a logarithmic axis written out, in place of powers of ten."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def new_figure(width: float = WIDTH, height: float = 3.4) -> Figure:
    """An empty figure of `width` and `height` inches that belongs to no window."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`; the same figure gives the same bytes.

    Returns:
        The two paths.
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for path in paths:
        save_as(figure, path)
    return paths


def save_as(figure: Figure, path: Path) -> None:
    """Write a figure as the kind of file that the path's ending names (.png, .svg, .pdf), and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    undated = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata=undated.get(path.suffix))


def svg_text(figure: Figure, prefix: str) -> str:
    """The figure as an `<svg>` element to stand in a page: as wide as its place, its ids begun with `prefix` so that no two figures share one."""
    out = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1), count=1
    )
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    return text.replace("url(#", f"url(#{prefix}-")


def _panel_of(table: ResultTable) -> str:
    """What a figure that shows one panel shows: the average, or the only dataset."""
    return AVERAGE if len(table.datasets) > 1 else table.datasets[0]


def _methods(table: ResultTable) -> dict[str, str]:
    return {row.label: row.method for row in table.rows}


def _styles(table: ResultTable) -> dict[str, tuple[str, str]]:
    """Colour and marker of each row: rows of the same method share the colour and differ in the marker."""
    methods = _methods(table)
    seen: dict[str, int] = {}
    styles = {}
    for label, method in methods.items():
        styles[label] = (colour_of(method, list(methods.values())), MARKERS[seen.get(method, 0) % len(MARKERS)])
        seen[method] = seen.get(method, 0) + 1
    return styles


@styled
def accuracy_against_time(table: ResultTable) -> Figure:
    """Each method's accuracy (H for base-to-new) against its mean seconds of training, as the MPL paper's figure 2; untrained ones are lines."""
    figure = new_figure()
    axes = figure.add_subplot()
    seconds, styles, where = table.training_seconds, _styles(table), _panel_of(table)
    metric, points, lines = table.main_metric, {}, []
    for label in table.labels:
        cell, (colour, marker) = table.cell(where, label, metric), styles[label]
        if cell.mean is None:
            continue
        if label in seconds:
            axes.errorbar(
                seconds[label], cell.mean, yerr=cell.spread or None, fmt=marker, color=colour, markersize=8, capsize=3, lw=1.4, zorder=3
            )
            points[f"{label}{lack(cell)}"] = (seconds[label], cell.mean, ink(colour))
        elif not table.experiment.runs[label] or not cell.is_learned:
            axes.axhline(cell.mean, color=colour, ls="--", lw=1.2)
            lines.append(cell.mean)
            axes.annotate(f"{label}, no training", (1, cell.mean), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                          ha="right", color=ink(colour))  # fmt: skip
    times = [x for x, _, _ in points.values()]
    if times and max(times) > 8 * min(times) > 0:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    axes.margins(x=0.22, y=0.16)
    if points and axes.get_xscale() == "linear":
        axes.set_xlim(0, max(axes.get_xlim()[1], 1.12 * max(times)))  # margins are of the range of times, which may be little
    axes.set_xlabel("mean training time of a run (seconds)")
    axes.set_ylabel(f"{'H' if metric == 'H' else 'accuracy'} (%)")
    axes.set_title(f"{'Accuracy' if metric != 'H' else 'H'} against training time, {where}")
    _label_points(figure, axes, points, lines)
    return figure


PLACES = (  # of a name beside its point, the best first: points to the right and up, and which side of the name is there
    (9, 0, "left", "center"), (-9, 0, "right", "center"), (7, 9, "left", "bottom"), (7, -9, "left", "top"), (-7, 9, "right", "bottom"),
    (-7, -9, "right", "top"), (0, 16, "center", "bottom"), (0, -16, "center", "top"),
)  # fmt: skip


def _label_points(figure: Figure, axes: Axes, points: dict[str, tuple[float, float, Any]], lines: Sequence[float]) -> None:
    """Write each point's name beside it, where it covers no other name, point or horizontal line, as far as that can be had.

    Args:
        figure, axes: where the points are drawn.
        points: name -> x, y and the colour of the name.
        lines: heights of horizontal lines.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    centres = {label: axes.transData.transform(point[:2]) for label, point in points.items()}
    heights = [axes.transData.transform((0, y))[1] for y in lines]
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    for label, (x, y, colour) in points.items():
        tried: list[tuple[int, int, Text, Bbox]] = []
        for dx, dy, ha, va in PLACES:
            text = axes.annotate(
                label, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, color=colour, fontweight="bold", zorder=4
            )
            box = text.get_window_extent(renderer)
            clashes = sum(box.overlaps(other) for other in taken) + sum(box.y0 <= height <= box.y1 for height in heights)
            clashes += sum(box.padded(4).contains(*centre) for other, centre in centres.items() if other != label)
            clashes += not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1)
            tried.append((clashes, len(tried), text, box))
            if clashes == 0:
                break
        best = min(tried, key=lambda place: place[:2])
        for place in tried:
            if place is not best:
                place[2].remove()
        taken.append(best[3])


@styled
def base_and_new_bars(table: ResultTable) -> Figure:
    """Base and new accuracy of each method: a panel for the average and one for each dataset; lines at the bars' ends are the seeds' spread.

    Raises:
        ValueError: the table is not of base-to-new.
    """
    if table.protocol != "base2new":
        raise ValueError(f"bars of base and new need a base-to-new table; received {table.title!r}")
    names = ([AVERAGE] if len(table.datasets) > 1 else []) + table.datasets
    n_columns = min(2, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    height = 0.8 + n_rows * (0.55 + 0.42 * len(table.labels))
    figure = new_figure(WIDTH * (1.3 if n_columns == 2 else 1), height)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axes, name in zip(panels.flat, names, strict=False):
        _bars(axes, table, name)
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    panels[-1, 0].set_xlabel("accuracy (%)")
    handles = [patches.Patch(facecolor="#777777", edgecolor="#777777", alpha=1 - 0.6 * i, label=half) for i, half in enumerate(HALVES)]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, table: ResultTable, name: str) -> None:
    """One panel: for each method a full bar for base and a light one for new below it, each with its figure at its end."""
    styles = _styles(table)
    for place, label in enumerate(table.labels):
        for half, shift in zip(HALVES, (-0.2, 0.2), strict=True):
            cell, colour = table.cell(name, label, half), styles[label][0]
            if cell.mean is None:
                axes.text(1, place + shift, f"{half} missing", va="center", color="#777777", fontsize=8)
                continue
            face = colors.to_rgba(colour, 1 if half == "base" else 0.4)
            axes.barh(
                place + shift, cell.mean, 0.36, color=face, edgecolor=colour, lw=0.8, xerr=cell.spread, ecolor="#333333", error_kw={"lw": 1}
            )
            end = cell.mean + (cell.spread or 0)
            axes.text(end + 1.5, place + shift, f"{cell.mean:.1f}{lack(cell)}", va="center", fontsize=8.5, color="#333333")
    axes.set_yticks(range(len(table.labels)), table.labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table.labels) - 0.5, -0.5)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="y", visible=False)
    axes.set_title(name)


@styled
def few_shot_curves(table: ResultTable) -> Figure:
    """Accuracy by training pictures a class: a panel for the average and one for each dataset; bands are the seeds' spread, dashed lines zero-shot.

    Raises:
        ValueError: the table is not of few-shot learning.
    """
    if table.protocol != "fewshot":
        raise ValueError(f"curves over shots need a few-shot table; received {table.title!r}")
    names = ([AVERAGE] if len(table.datasets) > 1 else []) + table.datasets
    n_columns = min(2, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure = new_figure(WIDTH * (1.3 if n_columns == 2 else 1), 0.5 + 2.9 * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        _curves(figure, axes, table, name)
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    return figure


def _curves(figure: Figure, axes: Axes, table: ResultTable, name: str) -> None:
    styles, ends = _styles(table), {}
    shots = [metric for metric in table.metrics if int(metric) > UNTRAINED_SHOTS]
    for label in table.labels:
        colour, marker = styles[label]
        zero_shot = table.cell(name, label, str(UNTRAINED_SHOTS))
        if zero_shot.mean is not None:
            axes.axhline(zero_shot.mean, color=colour, ls="--", lw=1.2)
            ends[label] = (zero_shot.mean, colour)
            continue
        cells = [(int(k), table.cell(name, label, k)) for k in shots]
        present = [(k, cell) for k, cell in cells if cell.mean is not None]
        if present:
            xs, means = [k for k, _ in present], [float(cell.mean or 0) for _, cell in present]
            spreads = [cell.spread or 0 for _, cell in present]
            axes.fill_between(xs, [m - s for m, s in zip(means, spreads, strict=True)], [m + s for m, s in zip(means, spreads, strict=True)],
                              color=colour, alpha=0.15, lw=0)  # fmt: skip
            axes.plot(xs, means, color=colour, marker=marker, ms=5, lw=1.8, label=label)
            ends[label] = (means[-1], colour)
    axes.set_xscale("log", base=2)
    axes.set_xticks([int(k) for k in shots], shots)
    axes.minorticks_off()
    axes.set_xlabel("training pictures a class")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(name)
    _label_ends(figure, axes, ends)


def _label_ends(figure: Figure, axes: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Write names right of the axes at the heights where their lines end, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = (high - low) * 14 / (72 * axes.get_position().height * figure.get_figheight() * 0.75)  # lines of 14 points
    height = low - gap
    for label, (value, colour) in sorted(ends.items(), key=lambda item: item[1][0]):
        height = max(value, height + gap)
        axes.annotate(label, (1, height), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center", color=ink(colour),
                      fontweight="bold", fontsize=9, annotation_clip=False)  # fmt: skip


@styled
def heat_map(pivot: PivotTable) -> Figure:
    """A pivot as a heat map with the figure written in each square; points that were not run are hatched."""
    n_rows, n_columns = len(pivot.row_values), len(pivot.column_values)
    figure = new_figure(max(3.2, 1.6 + 0.95 * n_columns), 1.5 + 0.55 * n_rows)
    axes = figure.add_subplot()
    values = [[_number(pivot.cell(r, c).mean) for c in pivot.column_values] for r in pivot.row_values]
    known = [v for row in values for v in row if not math.isnan(v)]
    picture = axes.imshow(values, cmap="cividis", aspect="auto", vmin=min(known, default=0), vmax=max(known, default=1))
    middle = (min(known, default=0) + max(known, default=1)) / 2
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if math.isnan(value):
                axes.add_patch(patches.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#F2F2F2", edgecolor="#BBBBBB", hatch="///", lw=0))
            else:
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", color="black" if value > middle else "white")
    axes.set_xticks(range(n_columns), [str(v) for v in pivot.column_values] if pivot.column_key else [""])
    axes.set_yticks(range(n_rows), [str(v) for v in pivot.row_values])
    axes.set_xlabel(pivot.column_key.rsplit(".", 1)[-1])
    axes.set_ylabel(pivot.row_key.rsplit(".", 1)[-1])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    fixed = "".join(f", {key.rsplit('.', 1)[-1]} {value}" for key, value in pivot.fixed)
    axes.set_title(f"{pivot.metric} of {pivot.method}, {pivot.dataset}{fixed}")
    figure.colorbar(picture, ax=axes, label=f"{pivot.metric} (%)").outline.set_visible(False)
    return figure


def _number(value: float | None) -> float:
    return math.nan if value is None else value
