"""Which figures belong to a table, with the names of their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .aggregate import ResultTable
from .figures import accuracy_against_time, base_and_new_bars, few_shot_curves, heat_map, save
from .pivot import PivotTable
from .training import training_curves


@dataclass(frozen=True)
class NamedFigure:
    """A figure, the name of its files without an ending, what it shows, and whether it is a detail that a page folds away."""

    name: str
    figure: Figure
    caption: str
    is_detail: bool = False


def figures_of(table: ResultTable | PivotTable) -> list[NamedFigure]:
    """Every figure that the runs of a table allow."""
    if isinstance(table, PivotTable):
        fixed = "_".join(f"{key.rsplit('.', 1)[-1]}_{value}" for key, value in table.fixed)
        name = "_".join(part for part in ("heat_map", table.protocol, table.method, table.metric, fixed) if part)
        return [NamedFigure(_file_name(name), heat_map(table), table.title)]
    stem = "_".join(str(part) for part in (table.protocol, table.experiment.shots or "", table.experiment.source) if part)
    found = []
    if table.training_seconds and table.protocol != "fewshot":
        hardware = ", ".join(table.provenance.facts["hardware"]) or "unknown hardware"
        found.append(
            NamedFigure(f"time_{stem}", accuracy_against_time(table), f"{table.title}: accuracy against mean training time on {hardware}")
        )
    if table.protocol == "base2new":
        found.append(
            NamedFigure(f"bars_{stem}", base_and_new_bars(table), f"{table.title}: base (full) and new (light), lines: spread over seeds")
        )
    if table.protocol == "fewshot":
        found.append(NamedFigure(f"curves_{stem}", few_shot_curves(table), f"{table.title}; bands: spread over seeds, dashed: zero-shot"))
    for dataset in table.datasets:
        figure = training_curves(table, dataset)
        if figure is not None:
            found.append(NamedFigure(f"training_{stem}_{dataset}", figure, f"{table.title}: loss and learning rate, {dataset}", True))
    return [NamedFigure(_file_name(f.name), f.figure, f.caption, f.is_detail) for f in found]


def save_figures(tables: Sequence[ResultTable | PivotTable], folder: Path) -> list[Path]:
    """Write every figure of `tables` into `folder`, as PNG and SVG; gives the paths."""
    return [path for table in tables for named in figures_of(table) for path in save(named.figure, folder / named.name)]


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")
