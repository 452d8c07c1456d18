"""One HTML page of tables and figures that stands alone: no script, no network, every figure inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import published
from .aggregate import AVERAGE, Cell, ResultTable, is_due
from .figure_sets import NamedFigure, figures_of
from .figures import svg_text
from .pivot import PivotTable
from .text import LEGEND, MISSING, facts, grid, heading, lack, n_seeds, signed


@dataclass
class Section:
    """What the page shows of one table.

    Args:
        table: the table.
        heads: of the columns.
        groups: rows under a dataset's name.
        facts: what its runs ran on, and how long they took.
        figures: svg, caption, and how each is shown.
    """

    table: ResultTable | PivotTable
    heads: list[str]
    groups: list[dict[str, Any]]
    facts: list[str]
    figures: list[dict[str, Any]] = field(default_factory=list)


def make_page(tables: Sequence[ResultTable | PivotTable], left_out: Iterable[str] = (), title: str = "Results") -> str:
    """The page's HTML.

    Args:
        tables: what it shows, with the figures of each.
        left_out: sentences on runs that stand in no table.
        title: of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = []
    for number, table in enumerate(tables, 1):
        section = _pivot_section(table) if isinstance(table, PivotTable) else _section(table)
        section.figures = [_shown(figure, f"f{number}-{i}") for i, figure in enumerate(figures_of(table))]
        sections.append(section)
    return environment.get_template("page.html.j2").render(
        title=title,
        legend=LEGEND,
        sections=sections,
        published_note=published.published()["note"],
        sources=published.sources(),
        claims=published.mpl_claims(),
        left_out=list(left_out),
    )


def _section(table: ResultTable) -> Section:
    heads = ["method", *(heading(metric, table.protocol) for metric in table.metrics)]
    groups = []
    for dataset, rows in groupby(table.rows, key=lambda row: row.dataset):
        shown = [
            {
                "label": row.label,
                "seeds": f"seeds: {n_seeds(list(row.cells.values()))}",
                "cells": [_cell(row.cells[metric], is_due(metric, row.cells[metric])) for metric in table.metrics],
            }
            for row in rows
        ]
        groups.append({"name": dataset, "is_average": dataset == AVERAGE, "rows": shown})
    return Section(table, heads, groups, facts(table))


def _pivot_section(pivot: PivotTable) -> Section:
    heads, _ = grid(pivot)
    rows = [{"label": str(r), "seeds": "", "cells": [_cell(pivot.cell(r, c)) for c in pivot.column_values]} for r in pivot.row_values]
    return Section(pivot, heads, [{"name": "", "is_average": False, "rows": rows}], facts(pivot))


def _cell(cell: Cell, due: bool = True) -> dict[str, Any]:
    return {
        "main": f"{cell.mean:.2f}" if cell.mean is not None else MISSING if due else "",
        "spread": "" if cell.mean is None or cell.spread is None else f"{cell.spread:.2f}",
        "lack": lack(cell).strip(" ()"),
        "paper": "" if cell.published is None else f"{cell.published:.2f}",
        "difference": signed(cell),
        "beyond": cell.is_beyond_spread,
    }


def _shown(figure: NamedFigure, prefix: str) -> dict[str, Any]:
    is_wide = figure.figure.get_figwidth() > 6
    svg = Markup(svg_text(figure.figure, prefix))  # noqa: S704, matplotlib wrote it
    return {"svg": svg, "caption": figure.caption, "is_wide": is_wide, "is_folded": figure.is_detail}
