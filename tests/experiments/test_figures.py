"""Figures hold the accuracies of their tables."""

import json
import warnings

import matplotlib
import numpy as np
import pytest

from experiments.aggregate import make_pivots
from experiments.figures import figures_of, save_figures
from tests.experiments.run_files import cell, tables_of, write_base2new, write_run


@pytest.fixture
def base2new(tmp_path):
    for dataset, plus in (("EuroSAT", 0.0), ("Shapes", 10.0)):
        for method, base in (("MPL", 80.0), ("MaPLe", 70.0)):
            for seed in (1, 2, 3):
                seconds = 100.0 if method == "MPL" else 40.0 * seed
                accuracies = (base + plus + seed, base - 10 + plus)
                write_base2new(tmp_path, method, dataset, seed, *accuracies, train_seconds=seconds)
                lines = []
                for epoch, loss in enumerate((8.0, 4.0, 2.0 / seed), 1):
                    for loss_avg in (loss, loss / 2):  # of two batches
                        line = {"epoch": epoch, "max_epoch": 3, "loss_avg": loss_avg, "lr": 10.0**-epoch}
                        lines.append(line)
                path = tmp_path / f"base/{dataset}/{method}/seed{seed}/metrics.jsonl"
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_base2new(tmp_path, "ZeroshotCLIP", dataset, 1, 60.0 + plus, 55.0 + plus)
    (table,) = tables_of(tmp_path)
    return table


def test_base_to_new_figures(base2new):
    figures = dict(figures_of(base2new))
    names = [
        "time_base2new_16",
        "bars_base2new_16",
        "training_base2new_16_EuroSAT",
        "training_base2new_16_Shapes",
    ]
    assert list(figures) == names
    time, bars, training, _ = figures.values()
    points = [line.get_xydata().tolist() for line in time.axes[0].lines if line.get_marker() in "os"]
    h = [cell(base2new, "average", label, "H")["mean"] for label in base2new.labels]
    assert points == [[[seconds, mean]] for seconds, mean in zip((0.0, 80.0, 100.0), h, strict=True)]
    lengths = [bar.get_width() for bar in bars.axes[1].patches]
    assert lengths == [
        cell(base2new, "EuroSAT", m, half)["mean"] for half in ("base", "new") for m in base2new.labels
    ]
    loss, rate = training.axes
    assert len(loss.lines) == 6
    assert loss.lines[1].get_ydata().tolist() == [4.0, 2.0, 0.5]  # the last line of each epoch
    assert rate.lines[0].get_ydata().tolist() == [1e-1, 1e-2, 1e-3, 1e-3]


@pytest.mark.parametrize("shots", [(1, 4, 16), (4,)])
def test_few_shot_curves(tmp_path, shots):
    for k in shots:
        for seed in (1, 2):
            given = {"shots": k, "seed": seed, "train_seconds": 9.0}
            write_run(tmp_path / f"k{k}/s{seed}", "MPL", "EuroSAT", 50.0 + k + seed, **given)
    write_run(tmp_path / "z", "ZeroshotCLIP", "EuroSAT", 47.84, shots=-1)
    (tmp_path / "k4/s1/metrics.jsonl").write_text("")  # as of the linear probe, which takes no steps
    ((name, figure),) = figures_of(tables_of(tmp_path)[0])
    assert name == "curves_fewshot"
    curves = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert curves == [[[i, 51.5 + k] for i, k in enumerate(shots)]]
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


def test_long_labels_are_not_cut(tmp_path):
    for name in ("a", "b"):
        value = f"{name}_setting_with_a_long_name" * 4
        write_base2new(tmp_path, "MPL", "EuroSAT", 1, 70.0, 60.0, settings={"CTX_INIT": value})
    tables = tables_of(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where labels leave no room for the axes
        paths = save_figures([*tables, *make_pivots(tables[0])], tmp_path / "made")
    assert len(paths) == 6


def test_heat_map_and_files(tmp_path):
    for n_add, n_remove in ((1, 0), (1, 1), (2, 0)):
        settings = {"N_ADD_OP": n_add, "N_RM_OP": n_remove}
        write_base2new(tmp_path / "runs", "MPL", "EuroSAT", 1, 50.0 + n_add, 60.0, settings=settings)
    pivots = make_pivots(tables_of(tmp_path / "runs")[0], metric="base")
    ((_, figure),) = figures_of(pivots[0])
    values = np.ma.filled(figure.axes[0].images[0].get_array(), -1)
    assert np.nan_to_num(values, nan=-1).tolist() == [[51, 51], [52, -1]]
    png, svg = save_figures(pivots, tmp_path / "made")
    assert png.name == "heat_map_base2new_MPL_base.png" and png.read_bytes()[:4] == b"\x89PNG"
    again = save_figures(pivots, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]
