"""Loss and learning rate over a training, drawn from `metrics.jsonl`."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .aggregate import ResultTable
from .figures import WIDTH, colour_of, new_figure, plain_ticks, styled
from .runs import Run, read_metrics


def trained_runs(table: ResultTable, dataset: str) -> dict[str, list[Run]]:
    """The runs of a table that trained on `dataset`, by row; of few-shot runs those with the most pictures. Rows without such runs are absent."""
    most = table.metrics[-1] if table.protocol == "fewshot" else None
    found = {
        label: sorted(
            (run for slot, run in slots.items() if slot.dataset == dataset and run.has_trained and most in (None, slot.metric)),
            key=lambda run: run.seed,
        )
        for label, slots in table.experiment.runs.items()
    }
    return {label: found[label] for label in table.labels if found.get(label)}


def by_epoch(lines: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """Epoch, mean loss and learning rate of each epoch that printed a line: those of its last line."""
    last = {line["epoch"]: line for line in lines}
    return [(epoch, line["loss_avg"], line["lr"]) for epoch, line in sorted(last.items())]


@styled
def training_curves(table: ResultTable, dataset: str) -> Figure | None:
    """Loss and learning rate of every training on `dataset`, epoch by epoch: a line a seed, over the share of the training that is done.

    None where no run on it has metrics.
    """
    found = {label: [m for m in (read_metrics(run.run_dir) for run in group) if m] for label, group in trained_runs(table, dataset).items()}
    runs = {label: group for label, group in found.items() if group}
    if not runs:
        return None
    figure = new_figure(WIDTH, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    methods = {row.label: row.method for row in table.rows}
    rates_of = {label: [(epoch, rate) for epoch, _, rate in by_epoch(group[0])] for label, group in runs.items()}
    for i, (label, group) in enumerate(runs.items()):
        colour = colour_of(methods[label], list(methods.values()))
        dashes = ("-", "--", ":", "-.")[sum(methods[other] == methods[label] for other in list(runs)[:i]) % 4]
        for n, lines in enumerate(group):
            epochs, losses, rates = zip(*by_epoch(lines), strict=True)
            share = 100 / lines[-1]["max_epoch"]
            top.plot([share * e for e in epochs], losses, color=colour, ls=dashes, lw=1.5, alpha=0.85, label=None if n else label)
            starts = [share * (e - 1) for e in epochs]
            n_above = sum(
                rates_of[other] == rates_of[label] for other in list(runs)[i + 1 :]
            )  # drawn wider, so that lines below others show
            bottom.step([*starts, share * epochs[-1]], [*rates, rates[-1]], color=colour, ls=dashes, lw=1.3 + 1.8 * n_above, where="post")
    for axes in (top, bottom):
        axes.set_yscale("log")
    plain_ticks(top.yaxis)
    top.set_ylabel("loss (mean of the epoch)")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("training done (%)")
    bottom.set_xlim(0, 100)
    shots = f", {table.metrics[-1]} pictures a class" if table.protocol == "fewshot" else ""
    top.set_title(f"Training on {dataset}{shots}")
    figure.legend(loc="outside lower center", ncols=min(4, len(runs)), frameon=False)
    return figure
