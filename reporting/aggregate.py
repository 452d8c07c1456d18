"""Tables of an experiment: means and spreads over seeds, averages as the papers compute them, and the published figures beside them.

Spread: the sample standard deviation over seeds, with n - 1 below. H of a dataset: the harmonic mean of its mean base and mean new accuracy, and of
an average the harmonic mean of the average base and the average new accuracy, as in the papers' tables; the spread of H is that of the seeds' H.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import published
from .protocols import PROTOCOLS, UNTRAINED_SHOTS, Experiment, differing_settings
from .provenance import Provenance, provenance_of
from .published import BENCHMARK, IMAGENET, PUBLISHED_BACKBONE, PUBLISHED_SHOTS, harmonic_mean
from .runs import HALVES, Run

AVERAGE = "average"
METHOD_ORDER = ("ZeroshotCLIP", "ZeroshotCLIP2", "CoOp", "CoCoOp", "VPT", "IVLP", "MaPLe", "PromptSRC", "MPL")  # by year, ours last
ROUNDING = 0.005  # percent, half the last digit of the published figures


@dataclass(frozen=True)
class Cell:
    """One accuracy of a table, in percent.

    Args:
        by_seed: what each seed gave.
        mean: the figure; None if it is missing.
        n_seeds_asked: how many seeds it should rest on.
        published: the paper's figure for the same, or None.
        datasets: of an average, those it is taken over; empty otherwise.
        n_datasets_asked: how many datasets it should be taken over.
    """

    by_seed: Mapping[int, float] = field(default_factory=dict)
    mean: float | None = None
    n_seeds_asked: int = 1
    published: float | None = None
    datasets: tuple[str, ...] = ()
    n_datasets_asked: int = 0
    is_learned: bool = True

    @property
    def n_seeds(self) -> int:
        """How many seeds it rests on."""
        return len(self.by_seed)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with fewer than two."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    @property
    def difference(self) -> float | None:
        """Ours less the published figure."""
        return None if self.mean is None or self.published is None else self.mean - self.published

    @property
    def is_beyond_spread(self) -> bool:
        """Whether the difference is larger than the seeds' spread; where nothing is learned, than the rounding of the published figure."""
        allowed = self.spread if self.is_learned else ROUNDING
        return self.difference is not None and allowed is not None and abs(self.difference) > allowed

    @property
    def is_partial(self) -> bool:
        """Whether it rests on fewer seeds or datasets than were asked for."""
        return self.mean is not None and (self.n_seeds < self.n_seeds_asked or len(self.datasets) < self.n_datasets_asked)


@dataclass(frozen=True)
class Row:
    """A method's figures on one dataset, or on average.

    Args:
        dataset: its name, or `AVERAGE`.
        label: the method, with the settings that tell it from another row of the same method.
        method: registered name of the method.
        cells: metric -> figure.
    """

    dataset: str
    label: str
    method: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class ResultTable:
    """A table of one experiment.

    Args:
        protocol: base2new, xd, dg or fewshot.
        title: what it shows.
        metrics: the columns.
        rows: the average's first, then dataset by dataset.
        notes: what the reader has to know: missing figures, averages over less than asked, settings that differ.
        provenance: what its runs ran on.
        experiment: the runs behind it.
    """

    protocol: str
    title: str
    metrics: tuple[str, ...]
    rows: Sequence[Row]
    notes: Sequence[str]
    provenance: Provenance
    experiment: Experiment

    @property
    def datasets(self) -> list[str]:
        """The datasets in the order of the rows, without the average."""
        return list(dict.fromkeys(row.dataset for row in self.rows if row.dataset != AVERAGE))

    @property
    def labels(self) -> list[str]:
        """The rows' methods in order."""
        return list(dict.fromkeys(row.label for row in self.rows))

    @property
    def main_metric(self) -> str:
        """The metric that methods are compared by."""
        return {"base2new": "H", "fewshot": self.metrics[-1]}.get(self.protocol, self.metrics[-1])

    @property
    def has_published(self) -> bool:
        """Whether any published figure stands in it."""
        return any(cell.published is not None for row in self.rows for cell in row.cells.values())

    @property
    def training_seconds(self) -> dict[str, float]:
        """Mean seconds of training of each row, over its datasets and seeds; rows that train nothing are absent."""
        means = {}
        for label in self.labels:
            seconds = [run.result["train_seconds"] for run in self.experiment.runs.get(label, {}).values() if run.has_trained]
            if seconds:
                means[label] = statistics.mean(seconds)
        return means

    def cell(self, dataset: str, label: str, metric: str) -> Cell:
        """One figure; a missing one where the table has none."""
        row = next((row for row in self.rows if (row.dataset, row.label) == (dataset, label)), None)
        return row.cells.get(metric, Cell()) if row else Cell()


@dataclass(frozen=True)
class Asked:
    """What a table should hold; None stands for what is found.

    Args:
        datasets, methods: names.
        seeds: numbers.
    """

    datasets: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None


ALL_FOUND = Asked()


def make_table(experiment: Experiment, asked: Asked = ALL_FOUND) -> ResultTable:
    """The table of an experiment.

    Args:
        experiment: its runs.
        asked: datasets, methods and seeds that the table should hold: others are left out, and those that are missing are marked.
    """
    experiment = _restrict(experiment, asked)
    metrics = _metrics(experiment)
    datasets = _datasets(experiment, asked)
    seeds = set(asked.seeds or {run.seed for run in experiment.all_runs if run.is_learned})
    labels = _labels(experiment, asked)
    averaged = [name for name in datasets if experiment.protocol not in ("xd", "dg") or name != experiment.source]
    rows = []
    for name in datasets:
        rows += [Row(name, label, _method_of(label), _dataset_cells(experiment, name, label, metrics, seeds)) for label in labels]
    if len(averaged) > 1:
        by_place = {(row.dataset, row.label): row for row in rows}
        averages = [
            Row(AVERAGE, label, _method_of(label), _average_cells(experiment, [by_place[name, label] for name in averaged], metrics))
            for label in labels
        ]
        rows = averages + rows
    notes = [*experiment.notes, *_notes(experiment, rows, averaged)]
    return ResultTable(experiment.protocol, _title(experiment), metrics, rows, notes, provenance_of(experiment.runs), experiment)


def _restrict(experiment: Experiment, asked: Asked) -> Experiment:
    def wanted(run: Run) -> bool:
        return (
            (asked.datasets is None or run.dataset in (*asked.datasets, experiment.source))
            and (asked.methods is None or run.method in asked.methods)
            and (asked.seeds is None or not run.is_learned or run.seed in asked.seeds)
        )

    kept = {label: {slot: run for slot, run in slots.items() if wanted(run)} for label, slots in experiment.runs.items()}
    return replace(experiment, runs={label: slots for label, slots in kept.items() if slots})


def _metrics(experiment: Experiment) -> tuple[str, ...]:
    if experiment.protocol == "base2new":
        return (*HALVES, "H")
    if experiment.protocol == "fewshot":
        shots = {int(slot.metric) for slots in experiment.runs.values() for slot in slots}
        return tuple(str(k) for k in sorted(shots, key=lambda k: (k < 0, k)))
    return ("accuracy",)


def _datasets(experiment: Experiment, asked: Asked) -> list[str]:
    found = {slot.dataset for slots in experiment.runs.values() for slot in slots} | set(asked.datasets or ())
    if experiment.protocol in ("xd", "dg") and asked.datasets:
        of_protocol = set(published.expected_datasets(experiment.protocol))
        found -= {name for name in asked.datasets if name in BENCHMARK and name not in of_protocol and name != experiment.source}
    order = [*BENCHMARK, *published.IMAGENET_VARIANTS]
    return sorted(found, key=lambda name: (name != experiment.source, order.index(name) if name in order else len(order), name))


def _labels(experiment: Experiment, asked: Asked) -> list[str]:
    present = {_method_of(label) for label in experiment.runs}
    labels = [*experiment.runs, *(method for method in asked.methods or () if method not in present)]

    def place(label: str) -> tuple[int, str]:
        method = _method_of(label)
        return METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER), label

    return sorted(labels, key=place)


def _method_of(label: str) -> str:
    return label.split(" (")[0]


def _dataset_cells(experiment: Experiment, name: str, label: str, metrics: Sequence[str], seeds: set[int]) -> dict[str, Cell]:
    """A row of one dataset."""
    slots = experiment.runs.get(label, {})
    is_learned = not slots or any(run.is_learned for run in slots.values())
    n_asked = len(seeds) if is_learned else 1
    cells: dict[str, Cell] = {}
    for metric in metrics:
        if metric == "H":
            cells[metric] = _h_cell(cells["base"], cells["new"])
        else:
            by_seed = {slot.seed: run.accuracy for slot, run in slots.items() if (slot.dataset, slot.metric) == (name, metric)}
            mean = statistics.mean(by_seed.values()) if by_seed else None
            cells[metric] = Cell(by_seed, mean, n_asked, is_learned=is_learned)
    return _with_published(experiment, label, cells, lambda metric: published.figure(experiment.protocol, _method_of(label), name, metric))


def _h_cell(base: Cell, new: Cell) -> Cell:
    """H of a base and a new figure, over the seeds that have both."""
    seeds = sorted(set(base.by_seed) & set(new.by_seed))
    cell = replace(base, by_seed={s: harmonic_mean(base.by_seed[s], new.by_seed[s]) for s in seeds}, mean=None, published=None)
    if base.datasets:
        mean = None if base.mean is None or new.mean is None else harmonic_mean(base.mean, new.mean)
        return replace(cell, mean=mean)
    if not seeds:
        return cell
    halves = [statistics.mean(half.by_seed[s] for s in seeds) for half in (base, new)]
    return replace(cell, mean=harmonic_mean(*halves))


def _average_cells(experiment: Experiment, rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Cell]:
    """The average over datasets: of those alone that have every half; the seeds' spread is of the seeds that all of them have."""
    cells: dict[str, Cell] = {}
    for metric in metrics:
        if metric == "H":
            cells[metric] = _h_cell(cells["base"], cells["new"])
            continue
        needed = HALVES if experiment.protocol == "base2new" else (metric,)
        complete = [row for row in rows if all(row.cells[m].mean is not None for m in needed)]
        parts = [row.cells[metric] for row in complete]
        seeds = set.intersection(*(set(part.by_seed) for part in parts)) if parts else set()
        cells[metric] = Cell(
            by_seed={s: statistics.mean(part.by_seed[s] for part in parts) for s in sorted(seeds)},
            mean=statistics.mean(part.mean for part in parts if part.mean is not None) if parts else None,
            n_seeds_asked=max((row.cells[metric].n_seeds_asked for row in rows), default=1),
            datasets=tuple(row.dataset for row in complete),
            n_datasets_asked=len(rows),
            is_learned=rows[0].cells[metric].is_learned,
        )
    method, taken = rows[0].method, next(iter(cells.values())).datasets
    return _with_published(experiment, rows[0].label, cells, lambda metric: published.average(experiment.protocol, method, taken, metric))


def _with_published(experiment: Experiment, label: str, cells: Mapping[str, Cell], find: Callable[[str], float | None]) -> dict[str, Cell]:
    """Put the published figures in, where they were measured in the same way."""
    runs = list(experiment.runs.get(label, {}).values())
    is_comparable = all(run.result.get("backbone") == PUBLISHED_BACKBONE for run in runs)
    if not is_comparable or experiment.shots not in (PUBLISHED_SHOTS, UNTRAINED_SHOTS) or experiment.source not in ("", IMAGENET):
        return dict(cells)
    return {metric: replace(cell, published=find(metric)) for metric, cell in cells.items()}


def _title(experiment: Experiment) -> str:
    parts = [PROTOCOLS[experiment.protocol]]
    if experiment.source and any(run.is_learned for run in experiment.all_runs):
        parts.append(f"trained on {experiment.source}")
    if experiment.protocol == "fewshot":
        parts.append("accuracy by training pictures a class")
    elif experiment.shots > 0:
        parts.append(f"{experiment.shots} training pictures a class")
    return ", ".join(parts)


def _notes(experiment: Experiment, rows: Sequence[Row], averaged: Sequence[str]) -> list[str]:
    """What is missing or taken over less than asked, in words."""
    notes = []
    missing = [f"{row.label} on {row.dataset}{told}" for row in rows if row.dataset != AVERAGE and (told := _missing_in(row)) is not None]
    if missing:
        notes.append(f"missing (—): {'; '.join(missing)}")
    fewer = [
        f"{row.label} on {row.dataset} {metric} ({cell.n_seeds} of {cell.n_seeds_asked})"
        for row in rows
        for metric, cell in row.cells.items()
        if row.dataset != AVERAGE and cell.mean is not None and cell.n_seeds < cell.n_seeds_asked
    ]
    if fewer:
        notes.append(f"fewer seeds than the table's others: {'; '.join(fewer)}")
    notes += _notes_on_averages([row for row in rows if row.dataset == AVERAGE])
    expected = published.expected_datasets(experiment.protocol)
    if len(averaged) > 1 and set(averaged) < set(expected):
        note = f"the average is over {len(averaged)} datasets, the papers' over {len(expected)}"
        if any(cell.published is not None for row in rows if row.dataset == AVERAGE for cell in row.cells.values()):
            note += "; the published average beside it is computed from the published figures of the same datasets"
        notes.append(note)
    return notes + _notes_on_settings(experiment)


def is_due(metric: str, cell: Cell) -> bool:
    """Whether a row is to have a figure: methods that learn have none without training pictures, and the others none with some."""
    return not metric.lstrip("-").isdigit() or (metric == str(UNTRAINED_SHOTS)) != cell.is_learned


def _missing_in(row: Row) -> str | None:
    """Which figures a row lacks: "" for all, " (base)" for some, None for none; the few-shot column of untrained methods is no lack of others."""
    due = {metric: cell for metric, cell in row.cells.items() if metric != "H" and is_due(metric, cell)}
    lacking = [metric for metric, cell in due.items() if cell.mean is None]
    if not lacking:
        return None
    return "" if len(lacking) == len(due) else f" ({', '.join(lacking)})"


def _notes_on_averages(rows: Iterable[Row]) -> list[str]:
    notes = []
    for row in rows:
        cell = next((c for c in row.cells.values() if 0 < len(c.datasets) < c.n_datasets_asked), None)
        if cell is not None:
            notes.append(f"the average of {row.label} is over {len(cell.datasets)} of {cell.n_datasets_asked} datasets: not to be compared")
    return notes


def _notes_on_settings(experiment: Experiment) -> list[str]:
    """Settings of a method that are not the same in all its cells, such as CoOp's epochs."""
    notes = []
    for label, slots in experiment.runs.items():
        if not any(run.is_learned for run in slots.values()):
            continue
        by_dataset = sorted(slots.items(), key=lambda item: (item[0].dataset, item[0].metric, item[0].seed))
        for key in differing_settings([run.settings for _, run in by_dataset]):
            values: dict[str, list[str]] = {}
            for slot, run in by_dataset:
                where = f"{slot.dataset} {slot.metric}" if experiment.protocol == "fewshot" else slot.dataset
                values.setdefault(str(run.settings.get(key)), []).append(where)
            told = "; ".join(f"{value} for {', '.join(dict.fromkeys(names))}" for value, names in values.items())
            notes.append(f"{label}: {key} is not the same in all cells: {told}")
    return notes
