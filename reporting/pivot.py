"""Runs of a grid of settings as tables of two settings, with the figures that a heat map is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from .aggregate import AVERAGE, Cell, ResultTable
from .protocols import differing_settings
from .provenance import Provenance, provenance_of

SETTINGS = "TRAINER."  # what a pivot is made over


@dataclass(frozen=True)
class PivotTable:
    """One metric of one method by two settings, for fixed values of the others.

    Args:
        table: the table whose rows are the points of the grid.
        method: name of the trainer.
        metric: one of the table's.
        dataset: the dataset, or the average over datasets.
        row_key, column_key: dotted keys of the two settings; the column's is "" where one setting alone differs.
        fixed: values of the other settings that differ.
        row_values, column_values: in order.
        labels: (row value, column value) -> label of the table's row; points that were not run are absent.
    """

    table: ResultTable
    method: str
    metric: str
    dataset: str
    row_key: str
    column_key: str
    fixed: tuple[tuple[str, Any], ...]
    row_values: tuple[Any, ...]
    column_values: tuple[Any, ...]
    labels: dict[tuple[str, str], str]

    @property
    def protocol(self) -> str:
        """The protocol of the runs."""
        return self.table.protocol

    @property
    def title(self) -> str:
        """What it shows."""
        where = "" if self.dataset == AVERAGE and not self.table.datasets else f" on {self.dataset}"
        keys = [key for key in (self.row_key, self.column_key) if key]
        at = "".join(f", {key} {value}" for key, value in self.fixed)
        return f"{self.table.title}: {self.metric} of {self.method}{where} by {' and '.join(keys)}{at}"

    @property
    def notes(self) -> list[str]:
        """On how many seeds the figures rest, and points that were not run, in words."""
        counts = sorted({cell.n_seeds for _, cell in self.points() if cell.mean is not None})
        notes = [f"seeds of each figure: {' to '.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))}"] if counts else []
        lacking = [
            f"{row} and {column}" if self.column_key else f"{row}"
            for row, column in product(self.row_values, self.column_values)
            if self.cell(row, column).mean is None
        ]
        return [*notes, *([f"not there (—): {', '.join(lacking)}"] if lacking else [])]

    @property
    def provenance(self) -> Provenance:
        """What the runs of the grid ran on."""
        used = set(self.labels.values())
        return provenance_of({label: slots for label, slots in self.table.experiment.runs.items() if label in used})

    def cell(self, row_value: Any, column_value: Any) -> Cell:
        """The figure at one point; a missing one where there was no run."""
        label = self.labels.get((repr(row_value), repr(column_value)))
        return self.table.cell(self.dataset, label, self.metric) if label else Cell()

    def points(self) -> list[tuple[str, Cell]]:
        """Every point that was run: its label in the table, and its figure."""
        return [(label, self.table.cell(self.dataset, label, self.metric)) for label in self.labels.values()]

    def grid(self, write: Callable[[Cell], str]) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of cells, each written by `write`."""
        heads = [
            _last(self.row_key),
            *(f"{_last(self.column_key)} {value}" if self.column_key else self.metric for value in self.column_values),
        ]
        return heads, [[str(row), *(write(self.cell(row, column)) for column in self.column_values)] for row in self.row_values]


def make_pivots(table: ResultTable, keys: Sequence[str] = (), metric: str | None = None) -> list[PivotTable]:
    """The pivots of every method of `table` whose runs differ in settings of TRAINER.

    Args:
        table: a table in which runs of other settings are rows of their own.
        keys: dotted keys, or their last parts, of the rows' and the columns' setting; by default the first two that differ, in the order of the alphabet.
        metric: one of the table's; by default the one that methods are compared by.

    Returns:
        One pivot for each combination of the settings that are neither rows nor columns; none where no setting differs.

    Raises:
        ValueError: a key does not differ between the runs, or there is no such metric.
    """
    metric = metric or table.main_metric
    if metric not in table.metrics:
        raise ValueError(f"--metric is {metric!r}; this table ({table.title}) has {', '.join(table.metrics)}")
    by_method: dict[str, dict[str, dict[str, Any]]] = {}
    for label, settings in table.experiment.settings_of_labels.items():
        by_method.setdefault(label.split(" (")[0], {})[label] = settings
    pivots = []
    for method, settings in by_method.items():
        differing = [key for key in differing_settings(list(settings.values())) if key.startswith(SETTINGS)]
        if differing:
            pivots += _pivots_of(table, method, settings, differing, keys, metric)
    return pivots


def _pivots_of(
    table: ResultTable, method: str, settings: dict[str, dict[str, Any]], differing: Sequence[str], keys: Sequence[str], metric: str
) -> list[PivotTable]:
    chosen = [_choose(key, differing) for key in keys] or list(differing)
    row_key, column_key = chosen[0], next((key for key in [*chosen[1:], *differing] if key != chosen[0]), "")
    others = [key for key in differing if key not in (row_key, column_key)]
    dataset = AVERAGE if len(table.datasets) > 1 else table.datasets[0]
    pivots = []
    for fixed in _values(settings, others):
        here = {label: s for label, s in settings.items() if all(s.get(k) == v for k, v in zip(others, fixed, strict=True))}
        labels = {(repr(s.get(row_key)), repr(s.get(column_key))): label for label, s in here.items()}
        rows, columns = (tuple(v for (v,) in _values(here, [key])) if key else (None,) for key in (row_key, column_key))
        pivots.append(
            PivotTable(table, method, metric, dataset, row_key, column_key, tuple(zip(others, fixed, strict=True)), rows, columns, labels)
        )
    return pivots


def _choose(key: str, differing: Sequence[str]) -> str:
    found = [full for full in differing if full == key or full.rsplit(".", 1)[-1] == key]
    if len(found) != 1:
        raise ValueError(f"--pivot {key}: no setting of this name differs between these runs; those that differ: {', '.join(differing)}")
    return found[0]


def _values(settings: dict[str, dict[str, Any]], keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """The combinations of values of `keys` that occur, in order."""
    found = {repr(values): values for s in settings.values() for values in [tuple(s.get(key) for key in keys)]}
    return sorted(found.values(), key=lambda values: [_order(value) for value in values])


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (not is_number, value if is_number else 0.0, str(value))


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]
