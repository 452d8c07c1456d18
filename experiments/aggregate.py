"""Makes the papers' tables from finished runs, beside the published figures.

`make_tables` gives a `Table` for each protocol, number of shots and source; `make_pivots` makes tables of two settings
from the runs of a grid. A figure is the mean over seeds with the sample standard deviation. H is the harmonic mean of the
mean base and the mean new accuracy; of an average it is that of the averages, as in the papers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .facts import ELEVEN, dataset_name
from .results import HALVES, IMAGENET, TABLE, VARIANTS, short_key

BENCHMARK = [dataset_name(name) for name in ELEVEN]
TITLES = {
    "base2new": "Base-to-new generalisation",
    "xd": "Cross-dataset transfer",
    "dg": "Domain generalisation",
    "fewshot": "Few-shot learning",
}
SECTIONS = {"base2new": "base_to_new", "xd": "cross_dataset", "dg": "domain_generalization"}  # of the published figures
AVERAGED = {"base2new": BENCHMARK, "xd": BENCHMARK[1:], "dg": VARIANTS, "fewshot": BENCHMARK}  # by the papers
AVERAGE, MISSING = "average", "—"
ROUNDING = 0.005  # half the last digit of the published figures
PROVENANCE = {
    "device": "hardware",
    "commit": "commit",
    "computed_in": "PREC",
    "torch": "PyTorch",
    "backbone": "backbone",
}
LEGEND = (
    "Accuracy in percent, mean ± sample standard deviation over seeds. paper: the published figure; diff: ours less the "
    "published; * larger than the spread over seeds (of what is not trained: than the rounding). — is missing."
)


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """The published figures with their sources."""
    return json.loads(Path(__file__).with_name("published_results.json").read_text(encoding="utf-8"))


def harmonic_mean(base: Any, new: Any) -> Any:
    """H of two accuracies, or of two Series; 0 if both are 0."""
    return 2 * base * new / np.maximum(base + new, 1e-9)


@dataclass(frozen=True)
class Asked:
    """What the tables should hold; None stands for what is found, and the dataset `all` for those of the papers."""

    protocols: Sequence[str] = tuple(TITLES)
    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    seeds: Sequence[int] | None = None


@dataclass(frozen=True)
class Table:
    """A table of one protocol.

    Args:
        name: of its figures' files.
        metrics: base, new and H, the shots of few-shot learning, or accuracy.
        runs: the runs behind it, as `results.place_runs` gives them.
        cells: the columns of `make_cells`, by dataset, label and metric.
    """

    protocol: str
    title: str
    name: str
    metrics: Sequence[str]
    runs: pd.DataFrame
    cells: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """The rows of each dataset."""
        return list(self.cells.index.unique("label"))

    @property
    def datasets(self) -> list[str]:
        """All but the average."""
        return [name for name in self.cells.index.unique("dataset") if name != AVERAGE]

    @property
    def notes(self) -> list[str]:
        """Lines that stand below it."""
        return make_notes(self)

    def frame(self) -> pd.DataFrame:
        """The table as text, with a row for each dataset and label."""
        has_published = self.cells.published.notna().any()
        rows = []
        for (dataset, label), cells in self.cells.groupby(["dataset", "label"], sort=False):
            counts = sorted(set(cells.n_seeds[cells["mean"].notna()]))
            seeds = "–".join(map(str, counts[:: max(1, len(counts) - 1)])) or "0"
            row = {"dataset": dataset, "method": label, "seeds": seeds}
            for metric, cell in cells.droplevel(["dataset", "label"]).iterrows():
                head = {"0": "zero-shot", "1": "1 shot", "-1": "all"}.get(metric, metric)
                head = f"{head} shots" if head.isdigit() else head
                row[head] = cell_text(cell)
                if has_published:
                    row[f"{head} paper"] = MISSING if pd.isna(cell.published) else f"{cell.published:.2f}"
                    row[f"{head} diff"] = difference_text(cell)
            rows.append(row)
        return pd.DataFrame(rows)


def cell_text(cell: pd.Series) -> str:
    """Such as `71.62 ± 0.81 (2/3 seeds)`."""
    if pd.isna(cell["mean"]):
        return MISSING if cell.due else ""
    spread = "" if pd.isna(cell.sample_std) else f" ± {cell.sample_std:.2f}"
    return f"{cell['mean']:.2f}{spread}{cell.lack}"


def difference_text(cell: pd.Series) -> str:
    """Ours less the published figure, with a star if that is more than the spread."""
    difference = cell["mean"] - cell.published
    if pd.isna(difference):
        return ""
    allowed = cell.sample_std if cell.learned else ROUNDING
    return f"{difference:+.2f}{'*' if abs(difference) > allowed else ''}"


def make_tables(runs: pd.DataFrame, asked: Asked) -> list[Table]:
    """The tables that the runs of `results.place_runs` allow, in the order of `TITLES`."""
    tables = [make_table(group, asked) for _, group in runs.groupby(TABLE) if group.protocol.iloc[0] in asked.protocols]
    return sorted((table for table in tables if table), key=lambda table: list(TITLES).index(table.protocol))


def make_table(runs: pd.DataFrame, asked: Asked) -> Table | None:
    """The table of runs that agree in `results.TABLE`; None if none of them is asked for."""
    protocol, shots, source, own = runs[TABLE].iloc[0]
    wanted = list(AVERAGED[protocol] if asked.datasets == ["all"] else asked.datasets or runs.dataset.unique())
    is_wanted = runs.dataset.isin([*wanted, source])
    if asked.methods:
        is_wanted &= runs.method.isin(asked.methods)
    if asked.seeds:
        is_wanted &= runs.seed.isin(asked.seeds) | ~runs.learned
    runs = runs[is_wanted]
    if runs.empty:
        return None
    metrics = [*HALVES, "H"] if protocol == "base2new" else sorted(runs.metric.unique(), key=metric_order)
    papers = BENCHMARK + VARIANTS
    datasets = {name for name in wanted if name in AVERAGED[protocol] or name not in papers} | set(runs.dataset)
    order = {name: i for i, name in enumerate([source, *papers])}
    datasets = sorted(datasets, key=lambda name: (order.get(name, len(order)), name))
    labels = set(runs.label) | {method for method in asked.methods or () if method not in set(runs.method)}
    years = list(published()["base_to_new"])
    labels = sorted(labels, key=lambda label: (years.index(m) if (m := method_of(label)) in years else len(years), label))
    n_seeds = len(set(asked.seeds or runs.seed[runs.learned]))
    cells = pd.DataFrame(
        [cell for label in labels for cell in make_cells(label, runs[runs.label == label], datasets, metrics, n_seeds)]
    )
    cells = cells.assign(protocol=protocol, shots=shots, trained_on=source).set_index(["dataset", "label", "metric"])
    averages = [AVERAGE] if AVERAGE in cells.index else []
    cells = cells.reindex(pd.MultiIndex.from_product([averages + datasets, labels, metrics], names=cells.index.names))
    parts = [TITLES[protocol], "own images" if own else "", f"trained on {source}" if source and runs.learned.any() else ""]
    title = ", ".join(filter(None, [*parts, f"{shots} training images a class" if shots > 0 else ""]))
    name = "_".join(str(part) for part in (protocol, shots, source, "own" if own else "") if part)
    return Table(protocol, title, name, metrics, runs, cells)


def metric_order(metric: str) -> tuple[bool, int]:
    """By shots; -1, all training images, comes last."""
    shots = 0 if metric == "accuracy" else int(metric)
    return shots < 0, shots


def method_of(label: str) -> str:
    return label.split(" (")[0]


def make_cells(
    label: str, runs: pd.DataFrame, datasets: Sequence[str], metrics: Sequence[str], n_seeds: int
) -> list[dict[str, Any]]:
    """The figures of one label: of each dataset, and of the average if there are several.

    Args:
        runs: the runs of the label, of one protocol; none if a method was asked for that has no runs.
        n_seeds: how many seeds each figure should rest on.
    """
    learned = bool(runs.empty or runs.learned.any())
    by_seed = {}  # metric -> accuracies, seeds x datasets
    for metric in metrics:
        of_metric = runs[runs.metric == metric].pivot(index="seed", columns="dataset", values="accuracy")
        by_seed[metric] = of_metric.reindex(columns=datasets).astype(float)
    if "H" in metrics:
        by_seed["H"] = harmonic_mean(by_seed["base"], by_seed["new"])
    means = {metric: frame.mean() for metric, frame in by_seed.items()}
    if "H" in metrics:  # of the means over the seeds that have both
        base, new = (by_seed[half].where(by_seed["H"].notna()).mean() for half in HALVES)
        means["H"] = harmonic_mean(base, new)
    cells = []

    def add(name: str, metric: str, mean: float, seeds: pd.Series, over: Sequence[str], lack: str) -> None:
        if not lack and len(seeds) < (n_seeds if learned else 1) and not np.isnan(mean):
            lack = f" ({len(seeds)}/{n_seeds} seeds)"
        cells.append({
            "dataset": name, "label": label, "metric": metric, "mean": mean, "sample_std": seeds.std(),
            "n_seeds": len(seeds), "by_seed": ";".join(f"{seed}:{value!r}" for seed, value in seeds.items()),
            "published": published_mean(runs, method_of(label), over, metric), "lack": lack, "learned": learned,
            "due": not metric.lstrip("-").isdigit() or (metric == "0") != learned,  # few-shot: zero-shot has one column
        })  # fmt: skip

    for metric in metrics:
        for name in datasets:
            add(name, metric, means[metric][name], by_seed[metric][name].dropna(), [name], "")
    averaged = [name for name in datasets if not (runs.source == name).any()]
    if len(averaged) > 1:
        averages = {}
        for metric in metrics:
            needed = metrics if "H" in metrics else [metric]
            over = [name for name in averaged if all(not np.isnan(means[m][name]) for m in needed)]
            mean, seeds = means[metric][over].mean(), by_seed[metric][over].dropna().mean(axis=1)
            if metric == "H":
                (base, base_seeds), (new, new_seeds) = averages["base"], averages["new"]
                mean, seeds = harmonic_mean(base, new), harmonic_mean(base_seeds, new_seeds).dropna()
            averages[metric] = mean, seeds
            lack = f" ({len(over)}/{len(averaged)} datasets)" if 0 < len(over) < len(averaged) else ""
            add(AVERAGE, metric, mean, seeds, over, lack)
    return cells


def published_mean(runs: pd.DataFrame, method: str, datasets: Sequence[str], metric: str) -> float | None:
    """The published figure of one dataset, or the average over several; None where the papers have none.

    They were measured with ViT-B/16, 16 images a class and ImageNet as the source.
    """
    if runs.empty or not datasets:
        return None
    protocol, shots, source, _ = runs[TABLE].iloc[0]
    if set(runs.backbone) != {"ViT-B/16"} or shots not in (0, 16) or source not in ("", IMAGENET):
        return None
    figures = published().get(SECTIONS.get(protocol, ""), {}).get(method, {})
    names = [AVERAGE] if set(datasets) == set(AVERAGED[protocol]) else datasets
    entries = [figures.get(name) for name in names]
    if None in entries:
        return None
    if metric == "H" and len(names) > 1:
        return harmonic_mean(*(np.mean([entry[half] for entry in entries]) for half in HALVES))
    values = [entry.get(metric) if isinstance(entry, dict) else entry for entry in entries]
    return None if None in values else float(np.mean(values))


def training_seconds(runs: pd.DataFrame) -> dict[str, float]:
    """Mean seconds of a training by label."""
    return runs[runs.trained].groupby("label").train_seconds.mean().to_dict()


def make_notes(table: Table) -> list[str]:
    """What the runs ran on, and what a reader has to know before he compares figures."""
    runs, cells, notes = table.runs, table.cells, []
    provenance = []
    for column, head in PROVENANCE.items():
        counts = runs[column].value_counts()
        if len(counts) > 1:
            told = ", ".join(f"{value} ({n} runs)" for value, n in counts.items())
            notes.append(f"WARNING: the runs of this table differ in {head}: {told}")
        elif len(counts):
            provenance.append(f"{head} {counts.index[0]}")
    notes.append(f"on {', '.join(provenance)}")
    if seconds := training_seconds(runs):
        notes.append("mean training time: " + ", ".join(f"{label} {time:.0f} s" for label, time in seconds.items()))
    for label, group in runs[runs.learned].groupby("label"):
        settings = group[[key for key in group.columns if "." in key and not key.startswith("data.")]]
        for key in settings.columns[settings.nunique() > 1]:
            values = ", ".join(f"{value} for {', '.join(of.dataset.unique())}" for value, of in group.groupby(key))
            notes.append(f"{label}: {key} is not the same in all cells: {values}")
    lacking = cells[cells["mean"].isna() & cells.due].index
    if told := [f"{label} on {dataset} ({metric})" for dataset, label, metric in lacking if metric != "H"]:
        notes.append(f"missing ({MISSING}): {'; '.join(told)}")
    n_papers = len(AVERAGED[table.protocol])
    if set(table.datasets) - set(runs.source) < set(AVERAGED[table.protocol]) and len(table.datasets) > 1:
        notes.append(f"the average is over fewer datasets than the papers' {n_papers}")
    claim = published()["MPL_claims"].get(SECTIONS.get(table.protocol))
    if claim and set(runs.dataset) & set(BENCHMARK):
        notes.append(f"MPL's paper has no figures of single datasets at hand; it claims: {claim}")
    return notes


@dataclass(frozen=True)
class Pivot:
    """One metric of one method over two settings of a grid.

    Args:
        name: of its figure's file.
        cells: as of a `Table`.
        values: the means, with a row a value of the first setting and a column a value of the second.
        text: the same as text.
        notes: lines that stand below it.
    """

    title: str
    heading: str
    name: str
    cells: pd.DataFrame
    values: pd.DataFrame
    text: pd.DataFrame
    notes: Sequence[str]

    def frame(self) -> pd.DataFrame:
        """The table as text."""
        columns = self.text.columns
        if columns.name:
            columns = [f"{columns.name} {value}" for value in columns]
        return self.text.set_axis(columns, axis=1).reset_index().astype(str)


def make_pivots(table: Table, keys: Sequence[str] = (), metric: str = "") -> list[Pivot]:
    """The pivots of every method of a table whose labels name settings.

    Args:
        keys: the settings of the rows and of the columns, such as N_ADD_OP; by default the first two that differ. Each
            combination of the others makes a pivot of its own.
        metric: by default H, or the last of the table.

    Raises:
        ValueError: a key does not differ, or the table has no such metric.
    """
    metric = metric or table.metrics[-1]
    if metric not in table.metrics:
        raise ValueError(f"--metric is {metric!r}; the table {table.title!r} has {', '.join(table.metrics)}")
    dataset = AVERAGE if len(table.datasets) > 1 else table.datasets[0]
    pivots = []
    for method, runs in table.runs.groupby("method"):
        full_keys = runs.telling.iloc[0]
        if not full_keys:
            continue
        short = {key: short_key(key, full_keys) for key in full_keys}
        wanted = [short.get(key, key) for key in keys]
        if unknown := set(wanted) - set(short.values()):
            raise ValueError(f"--pivot {', '.join(unknown)}: runs of {method} differ in {', '.join(short.values())} alone")
        points = runs.drop_duplicates("label").set_index("label")[full_keys].rename(columns=short)
        row, *others = dict.fromkeys([*wanted, *points])
        column = others.pop(0) if others else ""
        points[""] = metric  # the only column of a grid of one setting
        groups = points.groupby(others) if others else [((), points)]
        for fixed, group in groups:
            cells = table.cells.loc[[(dataset, label, metric) for label in group.index]]
            group = group.assign(value=cells["mean"].to_numpy(), text=cells.apply(cell_text, axis=1).to_numpy())
            at = "".join(f", {key} {value}" for key, value in zip(others, fixed, strict=True))
            heading = f"{metric} of {method}, {dataset}{at}"
            pivots.append(
                Pivot(
                    title=f"{table.title}: {heading}",
                    heading=heading,
                    name=f"heat_map_{table.protocol}_{method}_{metric}{at}",
                    cells=cells,
                    values=group.pivot(index=row, columns=column, values="value"),
                    text=group.pivot(index=row, columns=column, values="text").fillna(MISSING),
                    notes=[note for note in table.notes if not note.startswith("mean training time")],
                )
            )
    return pivots
