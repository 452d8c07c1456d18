"""Tables of runs whose accuracies are known."""

import csv
import io
import math
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from experiments.aggregate import AVERAGE, make_pivots, published
from experiments.results import read_runs
from tests.experiments.run_files import (
    cell,
    main,
    tables_of,
    training_of,
    write_base2new,
    write_few_shot,
    write_grid,
    write_run,
)  # fmt: skip

METHODS = ("ZeroshotCLIP", "MaPLe", "PromptSRC")


def test_published_figures_as_runs_give_the_published_averages(tmp_path):
    """Of three seeds, spread by 0.3; of one run where nothing is trained."""
    for method, seed in (("ZeroshotCLIP", 2), *product(METHODS[1:], (1, 2, 3))):
        for dataset, figures in published()["base2new"][method].items():
            if dataset != AVERAGE:
                accuracies = (figures[half] + 0.3 * (seed - 2) for half in ("base", "new"))
                write_base2new(tmp_path, method, dataset, seed, *accuracies)
    (table,) = tables_of(tmp_path)
    for method in METHODS:
        for metric, printed in published()["base2new"][method][AVERAGE].items():
            figure = cell(table, AVERAGE, method, metric)
            assert figure["mean"] == pytest.approx(printed, abs=0.02)  # MaPLe's base is 0.01 off its column
            assert figure.published == printed
    assert cell(table, "EuroSAT", "MaPLe", "base").sample_std == pytest.approx(0.3)  # 0.245 with n below
    assert cell(table, AVERAGE, "MaPLe", "new").sample_std == pytest.approx(0.3)
    assert math.isnan(cell(table, "EuroSAT", "ZeroshotCLIP", "base").sample_std)


def test_differences_from_the_published_are_marked_beyond_the_spread(tmp_path):
    for dataset, shift in (("EuroSAT", 1.0), ("UCF101", 0.2)):
        figures = published()["base2new"]["MaPLe"][dataset]
        for seed in (1, 2, 3):
            base = figures["base"] + shift + 0.3 * (seed - 2)
            write_base2new(tmp_path, "MaPLe", dataset, seed, base, figures["new"])
    (table,) = tables_of(tmp_path)
    assert list(table.frame["base diff"])[1:] == ["+1.00*", "+0.20"]
    two = [published()["base2new"]["MaPLe"][name]["base"] for name in ("EuroSAT", "UCF101")]
    assert cell(table, AVERAGE, "MaPLe", "base").published == pytest.approx(sum(two) / 2)


def test_figures_that_papers_do_not_give_are_left_out(tmp_path):
    for i, given in enumerate(({"backbone": "RN50"}, {"shots": 4})):
        write_base2new(tmp_path / str(i), "MaPLe", "EuroSAT", 1, 90.0, 80.0, **given)
        assert not tables_of(tmp_path / str(i))[0].cells.published.notna().any()
    for dataset in ("EuroSAT", "UCF101"):
        write_base2new(tmp_path / "2", "KgCoOp", dataset, 1, 80.0, 70.0)
    (table,) = tables_of(tmp_path / "2")
    h = published()["base2new"]["KgCoOp"]["EuroSAT"]["H"]
    assert cell(table, "EuroSAT", "KgCoOp", "H").published == h
    assert pd.isna(cell(table, "EuroSAT", "KgCoOp", "base").published)
    assert pd.isna(cell(table, AVERAGE, "KgCoOp", "H").published)


def test_missing_cells_are_marked(tmp_path):
    for seed in (1, 2, 3):
        write_base2new(tmp_path, "MPL", "Shapes", seed, 70.0, 60.0)
        write_base2new(tmp_path, "MPL", "EuroSAT", seed, 90.0, 80.0 if seed < 3 else None)
        write_base2new(tmp_path, "MaPLe", "Shapes", seed, 50.0, 40.0)
    (table,) = tables_of(tmp_path)
    frame = table.frame.set_index(["dataset", "method"])
    assert frame.loc[("EuroSAT", "MPL"), "new"] == "80.00 ± 0.00 (2/3 seeds)"
    assert frame.loc[("EuroSAT", "MaPLe"), "base"] == "—"
    assert frame.loc[(AVERAGE, "MaPLe"), "base"] == "50.00 ± 0.00 (1/2 datasets)"
    assert cell(table, AVERAGE, "MPL", "base")["mean"] == 80.0
    (table,) = tables_of(tmp_path, methods=["CoOp", "MPL"], datasets=["EuroSAT", "UCF101"], seeds=[1, 4])
    assert table.datasets == ["EuroSAT", "UCF101"] and table.labels == ["CoOp", "MPL"]  # also what is missing
    assert cell(table, "EuroSAT", "MPL", "base").lack == " (1/2 seeds)"


def test_runs_that_cannot_be_used_are_named(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_run(tmp_path / "unfinished", "MPL", "UCF101", 1.0, finished=False)
    write_run(tmp_path / "untested", "MPL", "UCF101", None)
    write_run(tmp_path / "val", "MPL", "UCF101", 1.0, split="val")
    write_run(tmp_path / "seed1.old-20260101", "MPL", "UCF101", 1.0, train_seconds=1.0)
    write_run(tmp_path / "unknown", "MPL", "UCF101", 1.0, tested={"folder": str(tmp_path / "nowhere")})
    write_run(tmp_path / "again", "MPL", "UCF101", 1.0, tested=training_of(tmp_path / "seed1", "UCF101"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/result.json").write_text('{"finished": tr')
    runs, notes = read_runs([tmp_path])
    assert len(runs) == 2
    for name in ("unfinished", "untested", "val", "unknown", "again", "broken"):
        assert sum(f"/{name}" in note for note in notes) == 1, notes


def test_differing_hardware_and_precision_are_warned_of(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_base2new(tmp_path, "MaPLe", "EuroSAT", 1, 90.0, 80.0, device="NVIDIA A100", computed_in="amp")
    warnings = [note for note in tables_of(tmp_path)[0].notes if note.startswith("WARNING")]
    assert len(warnings) == 2 and "Tesla T4 (2 runs), NVIDIA A100 (2 runs)" in warnings[0]


def test_a_mean_is_over_runs_of_equal_settings_of_which_the_newer_counts(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 80.0, 70.0, optim={"MAX_EPOCH": 1})
    write_base2new(tmp_path, "MPL", "EuroSAT", 2, 90.0, 80.0)
    (table,) = tables_of(tmp_path)
    assert table.labels == ["MPL (MAX_EPOCH 1)", "MPL (MAX_EPOCH 5)"]
    write_base2new(tmp_path / "newer", "MPL", "EuroSAT", 2, 60.0, 60.0, ended="2026-02-01T00:00:00+00:00")
    assert list(tables_of(tmp_path)[0].cells["mean"].loc["EuroSAT", :, "base"]) == [80.0, 60.0]
    assert sum("a newer run" in note for note in read_runs([tmp_path])[1]) == 2


def test_own_images_have_their_own_table(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0, majority=30.0)
    for name in ("a", "b"):
        given = {"data": {"pictures": f"/home/{name}/cats", "split_sha256": name * 64}}
        write_base2new(tmp_path / name, "MPL", "Folder cats", 1, 40.0, 30.0, macro_f1=20.0, **given)
    benchmark, own = tables_of(tmp_path)
    assert (benchmark.labels, benchmark.datasets) == (["MPL"], ["EuroSAT"])
    assert own.labels == ["MPL (pictures a/cats)", "MPL (pictures b/cats)"]
    assert not any("macro-F1" in head for table in (benchmark, own) for head in table.frame)


def test_macro_f1_and_the_largest_class_where_own_classes_are_unequal(tmp_path):
    for i, names in enumerate(("", "/home/names.json")):
        more = {"macro_f1": 20.0, "majority": 50.6, "data": {"pictures": "/cats", "split_sha256": str(i)}}
        more |= {"class_names": names, "train_seconds": 1.0}
        write_run(tmp_path / str(i), "MPL", "Folder cats", 40.0, **more)
    (table,) = tables_of(tmp_path)
    assert table.labels == ["MPL (FOLDER_CLASS_NAMES names.json)", "MPL (FOLDER_CLASS_NAMES none)"]
    assert table.frame["16-shot macro-F1"].tolist() == ["20.00", "20.00"]
    assert main("table", tmp_path, "--datasets", "cats") == 0
    write_run(tmp_path / "4", "MPL", "Folder cats", 40.0, shots=4, **more)
    assert [note.count("50.60") for note in tables_of(tmp_path)[0].notes if "50.60" in note] == [1]


def test_classes_with_fewer_images_than_shots_are_noted(tmp_path):
    write_base2new(tmp_path, "MPL", "Folder cats", 1, 40.0, 30.0, data=None, n_train_x=159)
    assert any(
        "fewer training images" in note and "Folder cats" in note for note in tables_of(tmp_path)[0].notes
    )


def test_a_setting_that_differs_between_datasets_is_noted_and_makes_no_row(tmp_path):
    write_base2new(tmp_path, "CoOp", "ImageNet", 1, 76.0, 67.0, optim={"MAX_EPOCH": 50})
    write_base2new(tmp_path, "CoOp", "EuroSAT", 1, 92.0, 54.0, optim={"MAX_EPOCH": 200})
    (table,) = tables_of(tmp_path)
    assert table.labels == ["CoOp"]
    assert any("OPTIM.MAX_EPOCH" in note and "200 for EuroSAT" in note for note in table.notes)


def test_transfer_averages_leave_the_source_out(tmp_path):
    """And runs that were copied to another folder still find each other."""
    write_run(tmp_path / "imagenet/s1", "CoOp", "ImageNet", 71.51, train_seconds=600.0, part="source")
    tested = {"CoOp": training_of(Path("/elsewhere/imagenet/s1"), "ImageNet"), "ZeroshotCLIP": None}
    for protocol, method in product(("xd", "dg"), tested):
        for dataset, figure in published()[protocol][method].items():
            if dataset not in ("ImageNet", AVERAGE):
                folder = tmp_path / method / dataset
                write_run(folder, method, dataset, figure["accuracy"], tested=tested[method])
    tables = tables_of(tmp_path)
    assert [table.protocol for table in tables] == ["xd", "dg"]
    for table in tables:
        for method in ("CoOp", "ZeroshotCLIP"):
            average = cell(table, AVERAGE, method, "accuracy")
            assert average["mean"] == pytest.approx(average.published, abs=0.01)
        assert cell(table, "ImageNet", "CoOp", "accuracy")["mean"] == 71.51
        assert "16 training images" in table.title


def test_zero_shot_halves_join_every_table_with_their_dataset(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_base2new(tmp_path / "few", "MPL", "EuroSAT", 1, 70.0, 60.0, shots=4)
    for dataset in ("EuroSAT", "UCF101"):
        write_base2new(tmp_path, "ZeroshotCLIP", dataset, 1, 50.0, 40.0)
    found = [(table.name, table.labels, table.datasets) for table in tables_of(tmp_path)]
    assert found == [
        ("base2new", ["ZeroshotCLIP"], ["UCF101"]),
        ("base2new_4", ["ZeroshotCLIP", "MPL"], ["EuroSAT"]),
        ("base2new_16", ["ZeroshotCLIP", "MPL"], ["EuroSAT"]),
    ]


def test_few_shot_tables_have_a_column_a_number_of_shots(tmp_path):
    write_few_shot(tmp_path, 1, 2, 16, -1)
    (table,) = tables_of(tmp_path)
    zero_shot, mpl = table.frame.to_dict("records")
    assert list(mpl)[3:] == ["zero-shot", "1-shot", "2-shot", "16-shot", "all"]
    assert mpl["16-shot"] == "67.50 ± 0.71" and mpl["zero-shot"] == ""
    assert zero_shot["zero-shot"] == "47.84" and zero_shot["all"] == ""
    assert table.cells["mean"].notna().all()


def test_runs_on_all_training_images_have_tables_of_their_own(tmp_path):
    source = write_run(tmp_path / "a", "CoOp", "ImageNet", 70.0, train_seconds=9.0, shots=-1)
    write_run(tmp_path / "b", "CoOp", "EuroSAT", 50.0, tested=training_of(source, "ImageNet", -1))
    write_base2new(tmp_path / "c", "CoOp", "EuroSAT", 1, 90.0, 80.0, shots=-1)
    tables = tables_of(tmp_path)
    assert [table.datasets for table in tables] == [["EuroSAT"], ["ImageNet", "EuroSAT"]]
    assert all("all training images" in table.title for table in tables)
    assert all(table.cells["mean"].notna().all() for table in tables)


def test_published_checkpoints_are_placed_by_their_folder(tmp_path):
    published = {"folder": "/published/imagenet/seed1", "dataset": None, "shots": None}
    write_run(tmp_path / "c", "CoOp", "UCF101", 60.0, tested=published)
    published = {**published, "folder": "/published/dtd"}
    write_run(tmp_path / "d", "CoOp", "EuroSAT", 60.0, tested=published, subsample="new")
    found = [(table.name, table.datasets) for table in tables_of(tmp_path)]
    assert found == [("base2new_16", ["EuroSAT"]), ("xd_ImageNet", ["UCF101"])]


def test_a_grid_is_a_table_of_two_settings_with_holes(tmp_path):
    write_grid(tmp_path, (1, 0), (2, 0), (10, 0), (2, 1))
    (pivot,) = make_pivots(tables_of(tmp_path)[0], ["N_RM_OP"], "new")
    assert pivot.pivot.fillna(-1).to_numpy().tolist() == [[60, 60, 60], [-1, 61, -1]]
    assert pivot.frame.to_numpy().tolist() == [["0", "60.00", "60.00", "60.00"], ["1", "—", "61.00", "—"]]
    for keys, metric in ((["PROMPT_DEPTH"], ""), ([], "h")):
        with pytest.raises(ValueError):
            make_pivots(tables_of(tmp_path)[0], keys, metric)


def test_a_third_setting_makes_further_rows(tmp_path):
    for rate, n_add, depth in product((0.1, 0.2), (1, 2), (3, 9)):
        given = {"settings": {"N_ADD_OP": n_add, "PROMPT_DEPTH": depth}, "optim": {"LR": rate}}
        write_base2new(tmp_path, "MPL", "EuroSAT", 1, 50.0 + depth, 60.0, **given)
    (pivot,) = make_pivots(tables_of(tmp_path)[0], ["OPTIM.LR", "N_ADD_OP"], "base")
    assert [pivot.pivot.loc[(0.2, depth), 1] for depth in (3, 9)] == [53.0, 59.0]
    assert list(pivot.frame) == ["LR", "PROMPT_DEPTH", "N_ADD_OP 1", "N_ADD_OP 2"]


def test_the_command_writes_every_format(tmp_path, capsys):
    third = 100 / 3
    write_base2new(tmp_path / "runs", "MPL", "OxfordPets", 1, third, 50.0)
    write_base2new(tmp_path / "runs", "MPL", "OxfordPets", 2, third + 1, 50.0)
    write_grid(tmp_path / "runs/grid", (1, 0), (2, 0))
    command = ("table", tmp_path / "runs", "--datasets", "oxford_pets")
    assert main(*command) == 0
    out, err = capsys.readouterr()
    assert "33.83 ± 0.71" in out and "grid" in err
    assert main(*command, "--format", "csv") == 0
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert float(rows["base"]["mean"]) == (third + third + 1) / 2 and rows["base"]["n_seeds"] == "2"
    assert main(*command, "--format", "markdown") == 0
    assert "| OxfordPets | MPL | 2 | 33.83 ± 0.71 | 50.00 ± 0.00 |" in capsys.readouterr().out
    assert main(*command, "--format", "latex") == 0
    assert r"OxfordPets & MPL & 2 & 33.83 ± 0.71 &" in capsys.readouterr().out
    page = tmp_path / "made/page.html"
    assert main(*command, "--format", "html", "--out", page) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("src='data:image/png;base64,") == 2 and "http" not in html
    assert main("table", tmp_path / "runs/grid", "--pivot", "--format", "markdown") == 0
    assert "| N_ADD_OP | H |\n| --- | --- |\n| 1 | 55.14 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["--protocols zero", "--methods MLP", "--datasets eurosta", "--protocols dg", "--seeds 1,two", "--pivot"],
)
def test_mistakes_exit_with_2(tmp_path, words):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    assert main("table", tmp_path, *words.split()) == 2
    assert main("table", tmp_path / "nowhere") == 2
