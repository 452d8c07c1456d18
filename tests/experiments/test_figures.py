"""Figures hold the accuracies of their tables."""

from itertools import product

import matplotlib
import numpy as np
import pandas as pd
import pytest

from experiments.aggregate import make_pivots
from experiments.figures import figures_of, save_figures
from tests.experiments.run_files import cell, tables_of, write_base2new, write_few_shot, write_grid


def test_base_to_new_figures(tmp_path):
    epoch = pd.Series([1, 1, 2, 2, 3, 3])  # of two batches each
    for dataset, plus in (("EuroSAT", 0.0), ("Shapes", 10.0)):
        write_base2new(tmp_path, "ZeroshotCLIP", dataset, 1, 60.0 + plus, 55.0 + plus)
        for method, seed in product(("MPL", "MaPLe"), (1, 2, 3)):
            base, seconds = (80.0, 100.0) if method == "MPL" else (70.0, 40.0 * seed)
            accuracies = (base + plus + seed, base - 10 + plus)
            write_base2new(tmp_path, method, dataset, seed, *accuracies, train_seconds=seconds)
            losses = [8.0, 4.0, 4.0, 2.0, 2.0 / seed, 1.0 / seed]
            lines = pd.DataFrame({"epoch": epoch, "max_epoch": 3, "loss_avg": losses, "lr": 10.0**-epoch})
            path = tmp_path / f"base/{dataset}/{method}/seed{seed}/metrics.jsonl"
            lines.to_json(path, orient="records", lines=True)
    (base2new,) = tables_of(tmp_path)
    figures = dict(figures_of(base2new))
    kinds = ["time", "bars", "training", "training"]
    assert [name.partition("_base2new_16")[0] for name in figures] == kinds
    time, bars, training, _ = figures.values()
    points = [line.get_xydata().tolist() for line in time.axes[0].lines if line.get_marker() in "os"]
    h = [cell(base2new, "average", label, "H")["mean"] for label in base2new.labels]
    assert points == [[[seconds, mean]] for seconds, mean in zip((0.0, 80.0, 100.0), h, strict=True)]
    lengths = [bar.get_width() for bar in bars.axes[1].patches]
    means = base2new.cells["mean"].loc["EuroSAT"].unstack()
    assert lengths == [*means.base[base2new.labels], *means.new[base2new.labels]]
    loss, rate = training.axes
    assert len(loss.lines) == 6
    assert loss.lines[1].get_ydata().tolist() == [4.0, 2.0, 0.5]  # the last line of each epoch
    assert rate.lines[0].get_ydata().tolist() == [1e-1, 1e-2, 1e-3, 1e-3]


def test_few_shot_curves(tmp_path):
    write_few_shot(tmp_path, 1, 4, 16)
    (tmp_path / "k4/s1/metrics.jsonl").write_text("")  # as of the linear probe, which takes no steps
    ((name, figure),) = figures_of(tables_of(tmp_path)[0])
    assert name == "curves_fewshot"
    curves = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert curves == [[[0, 52.5], [1, 55.5], [2, 67.5]]]
    (bars,) = figure.axes[0].collections
    assert np.ptp(bars.get_segments()[0][:, 1]) == pytest.approx(2 * 0.5**0.5)
    assert 47.84 in [line.get_ydata()[0] for line in figure.axes[0].lines]


def test_what_is_missing_is_named_and_makes_no_empty_figure(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 70.0, None, settings={"N_CTX": 1})
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 71.0, None, settings={"N_CTX": 2})
    (table,) = tables_of(tmp_path, datasets=["EuroSAT", "UCF101"])
    ((name, figure),) = figures_of(table)  # no H against time, no panel of UCF101
    assert (name, [axes.get_title("left") for axes in figure.axes]) == ("bars_base2new_16", ["EuroSAT"])
    assert "new missing" in [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert figures_of(make_pivots(table, metric="H")[0]) == []


def test_heat_map_and_files(tmp_path):
    write_grid(tmp_path / "runs", (1, 0), (1, 1), (2, 0))
    pivots = make_pivots(tables_of(tmp_path / "runs")[0], metric="base")
    ((_, figure),) = figures_of(pivots[0])
    values = np.ma.filled(figure.axes[0].images[0].get_array(), -1)
    assert np.nan_to_num(values, nan=-1).tolist() == [[51, 51], [52, -1]]
    png, svg = save_figures(pivots, tmp_path / "made")
    assert png.name == "heat_map_base2new_MPL_base.png" and png.read_bytes()[:4] == b"\x89PNG"
    again = save_figures(pivots, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]
