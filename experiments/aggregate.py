"""Makes the papers' tables from finished runs, beside the published figures.

`make_tables` gives a `Table` for each protocol, number of shots and source; `make_pivots` gives tables of
two settings from the runs of a grid. A figure is the mean over seeds with the sample standard deviation. H
is the harmonic mean of the mean base and the mean new accuracy; of an average it is that of the averages, as
in the papers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
SECTIONS = {"base2new": "base_to_new", "xd": "cross_dataset", "dg": "domain_generalization"}
AVERAGED = {"base2new": BENCHMARK, "xd": BENCHMARK[1:], "dg": VARIANTS, "fewshot": BENCHMARK}
AVERAGE, MISSING = "average", "—"
ROUNDING = 0.005  # half the last digit of the published figures
PROVENANCE = {
    "device": "hardware", "commit": "commit", "computed_in": "PREC", "torch": "PyTorch",
    "backbone": "backbone",
}  # fmt: skip
LEGEND = (
    "Accuracy in percent, mean ± sample standard deviation over seeds. paper: the published figure; diff: "
    "ours less that, * beyond the spread over seeds (beyond rounding, if nothing is trained). — is missing."
)


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """The published figures with their sources."""
    return json.loads(Path(__file__).with_name("published_results.json").read_text(encoding="utf-8"))


def harmonic_mean(base: Any, new: Any) -> Any:
    """H of two accuracies, or of two Series; 0 if both are 0."""
    return 2 * base * new / np.maximum(base + new, 1e-9)


@dataclass(frozen=True)
class Table:
    """A table of one protocol."""

    protocol: str
    title: str
    name: str  # of its figures' files
    metrics: Sequence[str]  # base, new and H; the shots of few-shot learning; or accuracy
    runs: pd.DataFrame  # as `results.read_runs` gives them
    cells: pd.DataFrame  # the columns of `make_cells`, by dataset, label and metric

    @property
    def labels(self) -> list[str]:
        """The rows of each dataset."""
        return list(self.cells.index.unique("label"))

    @property
    def datasets(self) -> list[str]:
        """All but the average."""
        return [name for name in self.cells.index.unique("dataset") if name != AVERAGE]

    @property
    def is_unequal(self) -> bool:
        """Whether own images have classes of unequal size, so that accuracy alone misleads."""
        return bool(self.runs.own.any() and self.runs.majority.notna().any())

    @property
    def frame(self) -> pd.DataFrame:
        """The table as text, with a row for each dataset and label."""
        cells = self.cells
        shown = {"": cells.apply(cell_text, axis=1)}
        if self.is_unequal:
            shown[" macro-F1"] = cells.macro_f1.map(lambda f1: "" if pd.isna(f1) else f"{f1:.2f}")
        if cells.published.notna().any():
            shown[" paper"] = cells.published.map(lambda mean: MISSING if pd.isna(mean) else f"{mean:.2f}")
            shown[" diff"] = cells.apply(difference_text, axis=1)
        rows = cells.index.droplevel("metric").unique()
        columns = {"seeds": cells.groupby(["dataset", "label"]).apply(seeds_text)}
        for metric in self.metrics:
            for ending, texts in shown.items():
                columns[head_of(metric) + ending] = texts.xs(metric, level="metric")
        frame = pd.DataFrame(columns).reindex(rows)
        return frame.reset_index().rename(columns={"label": "method"})

    @property
    def notes(self) -> list[str]:
        """What the runs ran on, and what a reader has to know before he compares figures."""
        runs, cells = self.runs, self.cells
        notes, provenance = [], []
        for column, head in PROVENANCE.items():
            counts = runs[column].value_counts()
            if len(counts) > 1:
                values = ", ".join(f"{value} ({n} runs)" for value, n in counts.items())
                notes.append(f"WARNING: the runs of this table differ in {head}: {values}")
            elif len(counts):
                provenance.append(f"{head} {counts.index[0]}")
        notes.append(f"on {', '.join(provenance)}")
        seconds = [f"{label} {time:.0f} s" for label, time in training_seconds(runs).items()]
        if seconds:
            notes.append(f"mean training time: {', '.join(seconds)}")
        if self.is_unequal:
            names = runs.dataset + (" " + runs.classes).replace(" all", "")
            shares = runs.majority.groupby(names).max().dropna()
            told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            notes.append(f"naming the largest class for every image would give: {told}")
        for label, group in runs[runs.learned].groupby("label"):
            settings = group[[key for key in group.columns if "." in key and not key.startswith("data.")]]
            for key in settings.columns[settings.nunique() > 1]:
                where = group.dataset
                if self.protocol == "fewshot":
                    where = where + " " + group.metric.map(head_of)
                values = where.groupby(group[key]).unique()
                parts = [f"{value or 'none'} for {', '.join(places)}" for value, places in values.items()]
                notes.append(f"{label}: {key} is not the same in all cells: {', '.join(parts)}")
        missing: dict[str, list[str]] = {}
        for dataset, label, metric in cells[cells["mean"].isna() & cells.due].index:
            if dataset != AVERAGE and metric != "H":
                missing.setdefault(f"{label} on {dataset}", []).append(head_of(metric))
        if missing:
            told = "; ".join(f"{where} ({', '.join(metrics)})" for where, metrics in missing.items())
            notes.append(f"missing ({MISSING}): {told}")
        papers = set(AVERAGED[self.protocol])
        if set(self.datasets) - set(runs.source) < papers and len(self.datasets) > 1:
            notes.append(f"the average is over fewer datasets than the papers' {len(papers)}")
        claim = published()["MPL_claims"].get(SECTIONS.get(self.protocol))
        if claim and set(runs.dataset) & set(BENCHMARK):
            notes.append(f"MPL's paper has no figures of single datasets at hand; it claims: {claim}")
        return notes


def head_of(metric: str) -> str:
    """The head of a metric's column."""
    head = {"0": "zero-shot", "1": "1 shot", "-1": "all"}.get(metric, metric)
    return f"{head} shots" if head.isdigit() else head


def seeds_text(cells: pd.DataFrame) -> str:
    """How many seeds the figures of a row rest on, such as `3` or `2–3`."""
    counts = cells.n_seeds[cells["mean"].notna()]
    return "–".join(map(str, sorted({counts.min(), counts.max()}))) if len(counts) else "0"


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
    return f"{round(difference, 2) + 0.0:+.2f}{'*' if abs(difference) > allowed else ''}"


def make_tables(
    runs: pd.DataFrame,
    protocols: Sequence[str] = tuple(TITLES),
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[Table]:
    """The tables that the runs of `results.read_runs` allow, in the order of `TITLES`.

    Args:
        methods, datasets, seeds: what the tables should hold, by default what is found. The dataset `all`
            stands for those of the papers.
    """
    tables = []
    for (protocol, _, source, _), group in runs.groupby(TABLE):
        wanted = AVERAGED[protocol] if list(datasets) == ["all"] else datasets or group.dataset.unique()
        group = group[group.dataset.isin([*wanted, source])]
        group = group[group.method.isin(methods or group.method)]
        group = group[group.seed.isin(seeds or group.seed) | ~group.learned]
        if protocol in protocols and len(group):
            tables.append(make_table(group, methods, wanted, seeds))
    return sorted(tables, key=lambda table: list(TITLES).index(table.protocol))


def make_table(
    runs: pd.DataFrame, methods: Sequence[str], wanted: Sequence[str], seeds: Sequence[int]
) -> Table:
    """The table of runs that agree in `results.TABLE`, with rows also for what is asked for and missing."""
    protocol, shots, source, own = runs[TABLE].iloc[0]
    if protocol == "base2new":
        metrics = [*HALVES, "H"]
    else:  # few-shot tables: 1, 2, 16, and at last -1, all images
        metrics = sorted(runs.metric.unique(), key=lambda metric: (metric == "-1", len(metric), metric))
    papers = BENCHMARK + VARIANTS
    of_protocol = [name for name in wanted if name in AVERAGED[protocol] or name not in papers]
    order = {name: i for i, name in enumerate([source, *papers])}
    datasets = sorted({*runs.dataset, *of_protocol}, key=lambda name: (order.get(name, len(order)), name))
    labels = sorted(set(runs.label) | (set(methods) - set(runs.method)), key=label_order)
    n_seeds = len(set(seeds or runs.seed[runs.learned]))
    made: list[dict[str, Any]] = []
    for label in labels:
        made += make_cells(label, runs[runs.label == label], source, datasets, metrics, n_seeds)
    cells = pd.DataFrame(made).assign(protocol=protocol, shots=shots, trained_on=source)
    cells = cells.set_index(["dataset", "label", "metric"])
    places = pd.MultiIndex.from_product([[AVERAGE, *datasets], labels, metrics], names=cells.index.names)
    cells = cells.reindex(places[places.isin(cells.index)])
    parts = [TITLES[protocol], "own images" if own else ""]
    parts.append(f"trained on {source}" if source and runs.learned.any() else "")
    parts.append(f"{'all' if shots < 0 else shots} training images a class" if shots else "")
    name = "_".join(str(part) for part in (protocol, shots, source, "own" if own else "") if part)
    return Table(protocol, ", ".join(filter(None, parts)), name, metrics, runs, cells)


def label_order(label: str) -> tuple[int, str]:
    """Published methods by year, as the file of published figures has them, then the others."""
    years, method = list(published()["base_to_new"]), method_of(label)
    return years.index(method) if method in years else len(years), label


def method_of(label: str) -> str:
    return label.split(" (")[0]


def make_cells(
    label: str, runs: pd.DataFrame, source: str, datasets: Sequence[str], metrics: Sequence[str], n_seeds: int
) -> Iterator[dict[str, Any]]:
    """The figures of one label: of each dataset, and of the average if there are several.

    Args:
        runs: those of the label; none if a method was asked for that has no runs.
        source: the dataset that the average leaves out.
        n_seeds: how many seeds each figure should rest on.
    """
    learned = bool(runs.empty or runs.learned.any())
    columns = pd.MultiIndex.from_product([[metric for metric in metrics if metric != "H"], datasets])
    index, of = "seed", ["metric", "dataset"]
    accuracies = runs.pivot(index=index, columns=of, values="accuracy").reindex(columns=columns)
    f1 = runs.pivot(index=index, columns=of, values="macro_f1").reindex(columns=columns)
    averaged = [name for name in datasets if name != source]
    for metric in metrics:
        needed = "H" if "H" in metrics else metric
        complete = [name for name in averaged if not np.isnan(figure(accuracies, needed, [name])[0])]
        rows = [(AVERAGE, complete, len(averaged))] if len(averaged) > 1 else []
        for name, over, n_datasets in rows + [(name, [name], 1) for name in datasets]:
            mean, by_seed = figure(accuracies, metric, over)
            cell = {"dataset": name, "label": label, "metric": metric, "learned": learned, "lack": ""}
            cell |= {"mean": mean, "sample_std": by_seed.std(), "n_seeds": len(by_seed)}
            cell["by_seed"] = ";".join(f"{seed}:{value!r}" for seed, value in by_seed.items())
            cell["macro_f1"] = figure(f1, metric, over)[0]
            cell["published"] = published_mean(runs, method_of(label), over, metric)
            # Few-shot tables: what is not trained stands in the column of 0 shots, and only there.
            cell["due"] = metric in (*HALVES, "H", "accuracy") or (metric == "0") != learned
            if 0 < len(over) < n_datasets:
                cell["lack"] = f" ({len(over)}/{n_datasets} datasets)"
            elif len(by_seed) < (n_seeds if learned else 1):
                cell["lack"] = f" ({len(by_seed)}/{n_seeds} seeds)"
            yield cell


def figure(values: pd.DataFrame, metric: str, datasets: Sequence[str]) -> tuple[Any, Any]:
    """The mean of a metric over seeds and datasets, and its mean of each seed that has all the datasets.

    Args:
        values: seeds x (metric, dataset). H is not among them: it is that of the seeds that have both halves.
    """

    def average(frame: pd.DataFrame) -> tuple[Any, Any]:
        return frame.mean().mean(), frame.dropna().mean(axis=1)

    if metric != "H":
        return average(values[metric][datasets])
    base, new = (values[half][datasets] for half in HALVES)
    means = zip(average(base.where(new.notna())), average(new.where(base.notna())), strict=True)
    (mean, by_seed) = (harmonic_mean(*halves) for halves in means)
    return mean, by_seed


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
    entries = {of: entry if isinstance(entry, dict) else {metric: entry} for of, entry in figures.items()}
    # skipna: of some methods H alone is at hand
    means = pd.DataFrame(entries, [*HALVES, metric]).reindex(columns=names).mean(axis=1, skipna=False)
    return harmonic_mean(*means[HALVES]) if metric == "H" and len(names) > 1 else means.iloc[-1]


def training_seconds(runs: pd.DataFrame) -> pd.Series:
    """Mean seconds of a training by label."""
    return runs[runs.trained].groupby("label").train_seconds.mean()


@dataclass(frozen=True)
class Pivot:
    """One metric of one method, with a row a value of one setting and a column a value of another."""

    title: str
    heading: str  # of its figure
    name: str  # of its figure's file
    cells: pd.DataFrame  # as of a `Table`
    values: pd.DataFrame  # the means
    frame: pd.DataFrame  # the same as text
    notes: Sequence[str]


def make_pivots(table: Table, keys: Sequence[str] = (), metric: str = "") -> list[Pivot]:
    """The pivots of every method of a table whose labels name settings.

    Args:
        keys: the settings of the rows and of the columns, such as N_ADD_OP; by default the first two that
            differ. Each combination of the others makes a pivot of its own.
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
            differ = ", ".join(short.values())
            raise ValueError(f"--pivot {', '.join(unknown)}: runs of {method} differ in {differ} alone")
        points = runs.drop_duplicates("label").set_index("label")[full_keys].rename(columns=short)
        row, *others = dict.fromkeys([*wanted, *points])
        column = others.pop(0) if others else ""
        points[""] = metric  # the only column of a grid of one setting
        for fixed, group in points.groupby(others) if others else [((), points)]:
            cells = table.cells.loc[[(dataset, label, metric) for label in group.index]]
            group = group.assign(value=list(cells["mean"]), text=list(cells.apply(cell_text, axis=1)))
            at = "".join(f", {key} {value}" for key, value in zip(others, fixed, strict=True))
            heading = f"{metric} of {method}, {dataset}{at}"
            name = f"heat_map_{table.protocol}_{method}_{metric}{at}"
            values, text = (group.pivot(index=row, columns=column, values=of) for of in ("value", "text"))
            text = text.fillna(MISSING).add_prefix(f"{column} " if column else "").rename_axis(columns=None)
            notes = [note for note in table.notes if not note.startswith("mean training time")]
            title = f"{table.title}: {heading}"
            pivots.append(Pivot(title, heading, name, cells, values, text.reset_index().astype(str), notes))
    return pivots
