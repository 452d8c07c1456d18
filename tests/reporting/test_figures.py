"""Figures hold the figures: what is drawn is read back from the artists."""

from __future__ import annotations

import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from run_files import write_base2new, write_metrics, write_run

from reporting.aggregate import ResultTable, make_table
from reporting.figure_sets import figures_of, save_figures
from reporting.figures import COLOURS, accuracy_against_time, base_and_new_bars, few_shot_curves, heat_map, save
from reporting.page import make_page
from reporting.pivot import make_pivots
from reporting.protocols import sort_into_experiments
from reporting.runs import find_runs
from reporting.text import to_csv, to_markdown
from reporting.training import training_curves


def tables_of(root: Path) -> list[ResultTable]:
    return [make_table(experiment) for experiment in sort_into_experiments(find_runs([root]).runs)[0]]


@pytest.fixture(scope="module")
def base2new(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    root = tmp_path_factory.mktemp("base2new")
    for dataset, plus in (("EuroSAT", 0.0), ("Shapes", 10.0)):
        for method, base in (("MPL", 80.0), ("MaPLe", 70.0)):
            for seed in (1, 2, 3):
                write_base2new(
                    root,
                    method,
                    dataset,
                    seed,
                    base + plus + seed,
                    base - 10 + plus,
                    train_seconds=100.0 if method == "MPL" else 40.0 * seed,
                )
                write_metrics(root / "train_base" / dataset / method / f"seed{seed}", [4.0, 2.0, 1.0 / seed], [1e-5, 3.5e-3, 1e-3])
        write_base2new(root, "ZeroshotCLIP", dataset, 1, 60.0 + plus, 55.0 + plus)
    (table,) = tables_of(root)
    return table


@pytest.fixture(scope="module")
def fewshot(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    root = tmp_path_factory.mktemp("fewshot")
    for shots in (1, 4, 16):
        for seed in (1, 2):
            write_run(root / f"k{shots}/s{seed}", "MPL", "EuroSAT", 50.0 + shots + seed, shots=shots, seed=seed, train_seconds=9.0)
    write_run(root / "z", "ZeroshotCLIP", "EuroSAT", 47.84, shots=-1)
    (table,) = tables_of(root)
    return table


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    root = tmp_path_factory.mktemp("grid")
    for n_add in (1, 2, 10):
        for n_remove in (0, 1):
            if (n_add, n_remove) != (10, 1):
                write_base2new(
                    root, "MPL", "EuroSAT", 1, 50.0 + n_add, 50.0 + n_add + n_remove, settings={"N_ADD_OP": n_add, "N_RM_OP": n_remove}
                )
    (table,) = tables_of(root)
    return table


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_time_figure_puts_each_method_at_its_mean_seconds_and_its_average_h(base2new):
    axes = accuracy_against_time(base2new).axes[0]
    points = {tuple(np.ravel(line.get_xydata())) for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() == "o"}
    expected = {(100.0, base2new.cell("average", "MPL", "H").mean), (80.0, base2new.cell("average", "MaPLe", "H").mean)}
    assert {(round(x, 6), round(y, 6)) for x, y in points} == {(round(x, 6), round(y, 6)) for x, y in expected}
    (untrained,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert untrained.get_ydata()[0] == base2new.cell("average", "ZeroshotCLIP", "H").mean
    assert {"MPL", "MaPLe", "ZeroshotCLIP, no training"} <= {text.get_text() for text in axes.texts}


def test_bars_are_as_long_as_the_accuracies_and_a_missing_one_is_said(base2new, tmp_path):
    figure = base_and_new_bars(base2new)
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == ["average", "EuroSAT", "Shapes"]
    panel = figure.axes[1]
    lengths = [bar.get_width() for bar in panel.patches]
    assert lengths == [base2new.cell("EuroSAT", label, half).mean for label in base2new.labels for half in ("base", "new")]
    assert matplotlib.colors.to_hex(panel.patches[-2].get_facecolor()).upper() == COLOURS["MPL"]
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 70.0, None)
    assert "new missing" in words_of(base_and_new_bars(tables_of(tmp_path)[0]))


def test_few_shot_curves_pass_through_the_means_with_the_spread_around(fewshot):
    axes = few_shot_curves(fewshot).axes[0]
    (curve,) = [line for line in axes.lines if line.get_label() == "MPL"]
    assert curve.get_xydata().tolist() == [[1, 52.5], [4, 55.5], [16, 67.5]]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(67.5 + 0.5**0.5) and band[:, 1].min() == pytest.approx(52.5 - 0.5**0.5)
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [47.84]


def test_training_curves_show_the_epochs_last_running_mean_and_rate(base2new):
    figure = training_curves(base2new, "EuroSAT")
    top, bottom = figure.axes
    curves = [line.get_xydata().tolist() for line in top.lines]
    assert len(curves) == 6
    assert [[pytest.approx(100 / 3), 4.0], [pytest.approx(200 / 3), 2.0], [100.0, 0.5]] in curves
    assert set(map(float, bottom.lines[0].get_ydata())) == {1e-5, 3.5e-3, 1e-3}
    assert training_curves(base2new, "nowhere") is None


def test_pivot_has_its_numbers_in_order_and_a_hole_where_nothing_ran(grid):
    (pivot,) = make_pivots(grid)
    assert (pivot.row_values, pivot.column_values) == ((1, 2, 10), (0, 1))
    assert pivot.cell(2, 1).mean == grid.cell("EuroSAT", "MPL (N_ADD_OP 2, N_RM_OP 1)", "H").mean
    assert pivot.cell(10, 1).mean is None
    assert pivot.notes == ["seeds of each figure: 1", "not there (—): 10 and 1"]
    assert "| 2 | 52.00 | 52.50 |" in to_markdown([pivot]).replace("52.49", "52.50")
    assert len(to_csv([pivot]).splitlines()) == 1 + 5
    figure = heat_map(pivot)
    values = figure.axes[0].images[0].get_array()
    assert values.shape == (3, 2) and values[0, 0] == pytest.approx(51.0) and np.isnan(np.ma.filled(values, np.nan)[2, 1])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "2", "10"]


def test_pivot_takes_keys_and_a_metric_and_refuses_others(grid, base2new):
    (pivot,) = make_pivots(grid, ["N_RM_OP"], "base")
    assert (pivot.row_key, pivot.column_key) == ("TRAINER.MPL.N_RM_OP", "TRAINER.MPL.N_ADD_OP")
    assert pivot.cell(0, 10).mean == 60.0
    with pytest.raises(ValueError, match="--pivot PROMPT_DEPTH: no setting of this name differs .*N_ADD_OP, TRAINER.MPL.N_RM_OP"):
        make_pivots(grid, ["PROMPT_DEPTH"])
    with pytest.raises(ValueError, match="--metric is 'h'; this table .* has base, new, H"):
        make_pivots(grid, metric="h")
    assert make_pivots(base2new) == []


def test_settings_outside_of_the_trainers_make_rows_but_no_pivot(tmp_path):
    for epochs in (5, 10):
        write_base2new(tmp_path / str(epochs), "MPL", "EuroSAT", 1, 50.0 + epochs, 60.0, epochs=epochs)
    (table,) = tables_of(tmp_path)
    assert table.labels == ["MPL (MAX_EPOCH 10)", "MPL (MAX_EPOCH 5)"]
    assert make_pivots(table) == []


def test_a_third_setting_makes_a_pivot_for_each_of_its_values(tmp_path):
    for depth in (3, 9):
        for n_add in (1, 2):
            for n_remove in (0, 1):
                settings = {"N_ADD_OP": n_add, "N_RM_OP": n_remove, "PROMPT_DEPTH": depth}
                write_base2new(tmp_path, "MPL", "EuroSAT", 1, 50.0 + depth, 60.0, settings=settings)
    pivots = make_pivots(tables_of(tmp_path)[0], metric="base")
    assert [pivot.fixed for pivot in pivots] == [(("TRAINER.MPL.PROMPT_DEPTH", 3),), (("TRAINER.MPL.PROMPT_DEPTH", 9),)]
    assert [pivot.cell(2, 1).mean for pivot in pivots] == [53.0, 59.0]


def test_files_are_a_real_png_and_svg_and_the_same_each_time(base2new, tmp_path):
    first = save(accuracy_against_time(base2new), tmp_path / "a/figure")
    again = save(accuracy_against_time(base2new), tmp_path / "b/figure")
    assert [path.name for path in first] == ["figure.png", "figure.svg"]
    png = first[0].read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", png[16:24]) == (648, 408)
    assert "<svg" in first[1].read_text()
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True)] == [True, True]


def test_every_figure_of_a_table_is_named_and_saved(base2new, fewshot, grid, tmp_path):
    names = {figure.name for figure in figures_of(base2new)}
    assert names == {"time_base2new_16", "bars_base2new_16", "training_base2new_16_EuroSAT", "training_base2new_16_Shapes"}
    assert {figure.name for figure in figures_of(fewshot)} == {"curves_fewshot"}
    saved = save_figures(make_pivots(grid), tmp_path)
    assert [path.name for path in saved] == ["heat_map_base2new_MPL_H.png", "heat_map_base2new_MPL_H.svg"]


class _Page(HTMLParser):
    """What a page asks for from elsewhere, its ids, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "srcset") and not (value or "").startswith(("#", "data:")):
                self.outside.append(f"{tag} {name}={value}")


def test_page_stands_alone_with_tables_figures_claims_and_warnings(base2new, fewshot, grid):
    html = make_page([base2new, fewshot, *make_pivots(grid)], ["left out: <b>/x/result.json"], title="A & B")
    page = _Page()
    page.feed(html)
    assert page.outside == []
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids)), "two figures share an id"
    pointed_at = set(re.findall(r'(?:url\(|href=")#([^)"]+)', html))
    assert len(pointed_at) > 20 and pointed_at <= set(page.ids), "a figure points at what is not in the page"
    assert page.tags.count("svg") == 4 + 1 + 1 and page.tags.count("table") == 3
    assert 'name="viewport"' in html
    assert "A &amp; B" in html and "left out: &lt;b&gt;/x/result.json" in html
    assert "largest gain on one dataset 10.7 points, EuroSAT" in html and "arXiv 2210.03117" in html
    assert f"{base2new.cell('EuroSAT', 'MPL', 'H').mean:.2f}" in html
    assert "Tesla T4" in html and "training of a run, mean: MaPLe 80 s, MPL 100 s" in html


def test_points_of_equal_times_stand_inside_the_axes(tmp_path: Path) -> None:
    for method, base in (("MPL", 80.0), ("MaPLe", 70.0)):
        write_base2new(tmp_path, method, "EuroSAT", 1, base, base, train_seconds=120.0)
    (table,) = tables_of(tmp_path)
    (axes,) = accuracy_against_time(table).axes
    assert axes.get_xlim()[1] > 1.1 * 120
