"""An interpretation of prompts as tables, rows and a figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .interpretation import Interpretation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "—"
WIDE = 1000  # columns of a console that never wraps a cell
MAX_VECTORS = 24  # in the figure; the tables have all
INK, QUIET, COLOURS = "#1f2937", "#94a3b8", ("#0f766e", "#c2410c", "#94a3b8")

SPACES = {
    "word vectors": "Distances to the words' vectors, which live in the space that layer 0 reads; a deeper layer's vector is set among words that never "
    "come to it in this form, so its words say where it lies, not what the layer makes of it (--in-layer compares within the layer).",
    "each layer": "Distances to the words as each layer of the text tower finds them at the first place of a text.",
}
STARTS = {
    "words": "started from words, so the start is known",
    "seed": "started from the draw of the run's seed, which the learned values still resemble",
    "unknown": "the draw of the run's seed is not where it started (another seed, other draws before, or other prompts to start from): the norm "
    "at the start is that of a draw like it",
}


def rows(found: Interpretation) -> list[dict[str, Any]]:
    """One flat row a word, an array and a layer, in full precision; ``table`` says which."""
    tables = (("words", found.words), ("moves", found.moves), ("likeness", found.likeness))
    return [{"table": name, **asdict(entry)} for name, entries in tables for entry in entries]


def to_text(found: Interpretation, is_terminal: bool = False) -> str:
    """Three tables with what is to be known of them, no cell cut; ``is_terminal`` for bold heads."""
    out = io.StringIO()
    console = Console(
        file=out, width=WIDE, force_terminal=is_terminal, no_color=not is_terminal, highlight=False, emoji=False, markup=False
    )
    for title, heads, lines, notes in (_words(found), _moves(found), _likeness(found)):
        if lines:
            table = Table(title=title, title_justify="left", title_style="bold")
            for head in heads:
                table.add_column(head, no_wrap=True, justify="left" if head in TEXT_COLUMNS else "right")
            for line in lines:
                table.add_row(*line)
            console.print(table)
        else:
            console.print(title, style="bold")
        for note in notes:
            console.print(note, soft_wrap=True)
        console.print()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip() + "\n"


TEXT_COLUMNS = ("array", "start") + tuple(f"word {rank}" for rank in range(1, 100))
Tabled = tuple[str, list[str], list[list[str]], list[str]]
"""Title, heads, lines of cells, notes below."""


def _words(found: Interpretation) -> Tabled:
    title = "Nearest words of the learned text vectors: distance (cosine)"
    if not found.words:
        return title, [], [], [f"{found.method} learns no text vectors."]
    by_vector: dict[tuple[int, int], list[str]] = {}
    for word in found.words:
        cells = by_vector.setdefault((word.layer, word.prompt), [])
        cells.append(f"{word.word} {word.euclidean:.3f} ({word.cosine:+.2f})")
    heads = ["layer", "vector", *(f"word {rank}" for rank in range(1, 1 + max(map(len, by_vector.values()))))]
    lines = [[str(layer), str(prompt), *cells] for (layer, prompt), cells in by_vector.items()]
    return title, heads, lines, [SPACES[found.space], "A piece of a word that another piece follows ends in “-”."]


def _moves(found: Interpretation) -> Tabled:
    heads = ["array", "values", "norm", "norm at start", "moved", "cosine with start", "start"]
    lines = [
        [m.name, str(m.n_values), f"{m.norm:.4f}", f"{m.start_norm:.4f}", _number(m.moved, ".4f"), _number(m.cosine, "+.3f"), m.start]
        for m in found.moves
    ]
    kinds = dict.fromkeys(m.start for m in found.moves)
    return "How far the learned arrays moved (Euclidean norms)", heads, lines, [f"{kind}: {STARTS[kind]}." for kind in kinds]


def _likeness(found: Interpretation) -> Tabled:
    title = "Vision prompts before each layer: cosine of those that join (added) with those that the layer before leaves"
    if not found.likeness:
        return title, [], [], [f"{found.method} changes no vision prompts below the first layer."]
    heads = ["layer", "carried", "removed", "added", "carried·added", "removed·added", "carried·patches", "|carried|", "|added|"]
    lines = []
    for one in found.likeness:
        cosines = [_number(c, "+.3f") for c in (one.carried_added, one.removed_added, one.carried_patches)]
        norms = [_number(n, ".2f") for n in (one.carried_norm, one.added_norm)]
        lines.append([str(one.layer), str(one.carried), str(one.removed), str(one.added), *cosines, *norms])
    note = f"Means over pairs and over {found.pictures}: blocks have moved what is carried, each picture in its own way."
    return title, heads, lines, [note]


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form).replace("-", "−")


def draw(found: Interpretation, title: str) -> Figure:
    """The figure: nearest words layer by layer, how far each array moved, and how alike carried and added vision prompts are."""
    from matplotlib.figure import Figure  # takes a second, and only those who draw need it

    figure = Figure(figsize=(12, max(7.0, 0.23 * len(found.moves) + 1.2)), facecolor="white", layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", size=14, weight="bold", color=INK, parse_math=False)
    places = figure.subplot_mosaic([["words", "moves"], ["alike", "moves"]], height_ratios=[1.3, 1])
    words, moved, alike = (places[name] for name in ("words", "moves", "alike"))
    _draw_words(words, found)
    _draw_moves(moved, found)
    _draw_likeness(alike, found)
    for ax in (words, moved, alike):
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(QUIET)
        ax.tick_params(colors=INK, labelsize=8, length=0)
    return figure


def _draw_words(ax: Axes, found: Interpretation) -> None:
    """A bar a vector, the nearest word's distance, with the nearest words written into it."""
    ax.set_title("Nearest words" + (" (within the layer)" if found.space == "each layer" else ""), loc="left", color=INK)
    if not found.words:
        _say(ax, f"{found.method} learns no text vectors")
        return
    vectors = list(dict.fromkeys((w.layer, w.prompt) for w in found.words))
    if len(vectors) > MAX_VECTORS:
        ax.set_title(f"Nearest words, {MAX_VECTORS} of {len(vectors)} vectors", loc="left", color=INK)
        vectors = vectors[:MAX_VECTORS]
    nearest = {(w.layer, w.prompt): w.euclidean for w in found.words if w.rank == 1}
    longest = max([*nearest.values(), 1e-6])
    for place, vector in enumerate(vectors):
        ax.barh(place, nearest[vector], height=0.72, color="#99d5cf")
        names = [w.word for w in found.words if (w.layer, w.prompt) == vector][:3]
        ax.text(longest * 0.012, place, ", ".join(names), va="center", size=8, color=INK, parse_math=False)
    ax.set(xlim=(0, longest * 1.02), ylim=(len(vectors) - 0.4, -0.6), xlabel="distance of the nearest word")
    ax.set_yticks(range(len(vectors)), [f"layer {layer}, {prompt}" for layer, prompt in vectors])


def _draw_moves(ax: Axes, found: Interpretation) -> None:
    """A mark an array: the distance from its start as a multiple of the start's norm; norms alone where the start is unknown."""
    known = [m for m in found.moves if m.moved is not None]
    shown = known or list(found.moves)
    values = [(m.norm if m.moved is None else m.moved) / max(m.start_norm, 1e-12) for m in shown]
    ax.set_title("How far the arrays moved" if known else "Norms of the arrays (their start is unknown)", loc="left")
    least = min((v for v in values if v > 0), default=1.0) / 2
    ax.hlines(range(len(shown)), least, [max(v, least) for v in values], color="#fed7aa", linewidth=3)
    ax.plot([max(v, least) for v in values], range(len(shown)), "o", color=COLOURS[1], markersize=5)
    ax.set_xscale("log")
    ax.grid(axis="x", color="#e2e8f0", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_yticks(range(len(shown)), [m.name.removeprefix("prompt_learner.") for m in shown])
    ax.set(ylim=(len(shown) - 0.4, -0.6), xlabel=("distance from the start" if known else "norm") + ", in norms of the start")


def _draw_likeness(ax: Axes, found: Interpretation) -> None:
    """Cosines over the layers."""
    ax.set_title("Vision prompts: cosine with those that join", loc="left")
    if not found.likeness:
        _say(ax, f"{found.method} changes no vision prompts\nbelow the first layer")
        return
    layers = [one.layer for one in found.likeness]
    lines: Sequence[tuple[str, list[float | None]]] = (
        ("carried and added", [one.carried_added for one in found.likeness]),
        ("removed and added", [one.removed_added for one in found.likeness]),
        ("carried and patches", [one.carried_patches for one in found.likeness]),
    )
    ax.axhline(0, color="#cbd5e1", linewidth=0.8)
    for (label, values), colour in zip(lines, COLOURS, strict=True):
        if any(v is not None for v in values):
            ax.plot(layers, [float("nan") if v is None else v for v in values], marker="o", label=label, color=colour)
    most = max([0.2, *(abs(v) for _, values in lines for v in values if v is not None)]) * 1.15
    ax.set(ylim=(-most, most), xlabel=f"layer (means over {found.pictures})")
    ax.set_xticks(layers)
    ax.legend(frameon=False, fontsize=8, loc="best")


def _say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, size=10, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])
