"""Predictions as a table for people, and as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .predictions import Prediction

PIPE_WIDTH = 10_000  # columns where the output is no terminal, so that no cell is cut; our choice: beyond any path


def table(predictions: Sequence[Prediction], terminal_width: int | None = None) -> str:
    """The pictures and their likeliest classes with probabilities in percent: a row a picture, or a row a class where a terminal is too narrow for that.

    Args:
        terminal_width: columns of the terminal; None where the output is no terminal.
    """
    wide = _drawn(_row_a_picture(predictions), PIPE_WIDTH)
    if terminal_width is None or max(map(len, wide)) <= terminal_width:
        return "\n".join(wide)
    return "\n".join(_drawn(_row_a_class(predictions, terminal_width), terminal_width))


def _row_a_picture(predictions: Sequence[Prediction]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="")
    grid.add_column("picture")
    for rank in range(1, max(len(prediction.scores) for prediction in predictions) + 1):
        grid.add_column(f"{rank}." if rank > 1 else "class")
        grid.add_column("%", justify="right")
    for prediction in predictions:
        cells = [cell for score in prediction.scores for cell in (score.name, f"{100 * score.probability:.1f}")]
        grid.add_row(prediction.source or "", *cells)
    return grid


def _row_a_class(predictions: Sequence[Prediction], width: int) -> Table:
    """A picture's name, then a class's, is folded where it is too long for ``width`` columns, never cut."""
    longest = max(len(score.name) for prediction in predictions for score in prediction.scores)
    grid = Table(box=None, pad_edge=False, header_style="")
    grid.add_column("picture", overflow="fold")
    grid.add_column("class", overflow="fold", min_width=min(longest, width // 2))
    grid.add_column("%", justify="right", no_wrap=True)
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores):
            is_last = rank == len(prediction.scores) - 1
            source = "" if rank else prediction.source or ""
            grid.add_row(source, score.name, f"{100 * score.probability:.1f}", end_section=is_last)
    return grid


def _drawn(grid: Table, width: int) -> list[str]:
    """The lines of a table, as plain text of up to ``width`` columns."""
    text = io.StringIO()
    Console(file=text, width=width, markup=False, highlight=False, color_system=None).print(grid)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain data, in full precision."""
    scores = [{"class": score.name, "probability": score.probability, "logit": score.logit} for score in prediction.scores]
    return {"picture": prediction.source, "predictions": scores}


def as_json(about: dict[str, Any], predictions: Sequence[Prediction], unreadable: Sequence[dict[str, str]]) -> str:
    """One JSON object: what classified, the predictions in order, and the files that could not be read."""
    pictures = [as_dict(prediction) for prediction in predictions]
    return json.dumps({**about, "pictures": pictures, "unreadable": list(unreadable)}, indent=2, ensure_ascii=False)


def as_csv(predictions: Sequence[Prediction]) -> str:
    """One row a picture and class: picture, rank from 1, class, probability 0 to 1, logit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "rank", "class", "probability", "logit"])
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            writer.writerow([prediction.source, rank, score.name, score.probability, score.logit])
    return text.getvalue().rstrip("\n")
