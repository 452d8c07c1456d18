"""Tables from runs whose figures are known: averages, spreads, missing cells, published figures."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from run_files import checkpoint_of, config, write_base2new, write_published_base2new, write_run

from dassl.utils.environment import is_modified
from reporting import published
from reporting.aggregate import ALL_FOUND, AVERAGE, Asked, ResultTable, make_table
from reporting.protocols import sort_into_experiments
from reporting.runs import find_runs
from reporting.text import to_csv, to_latex, to_markdown, to_terminal


def tables_of(*dirs: Path, asked: Asked = ALL_FOUND) -> list[ResultTable]:
    experiments, _ = sort_into_experiments(find_runs(dirs).runs)
    return [make_table(experiment, asked) for experiment in experiments]


@pytest.fixture(scope="module")
def published_table(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    root = tmp_path_factory.mktemp("published")
    write_published_base2new(root, ("ZeroshotCLIP", "CoOp", "CoCoOp", "MaPLe", "PromptSRC"))
    (table,) = tables_of(root)
    return table


@pytest.mark.parametrize("method", ["ZeroshotCLIP", "CoOp", "CoCoOp", "MaPLe", "PromptSRC"])
def test_published_figures_fed_in_as_runs_give_the_published_averages(published_table, method):
    printed = published.published()["base_to_new"][method]["average"]
    for metric in ("base", "new", "H"):
        cell = published_table.cell(AVERAGE, method, metric)
        assert cell.mean == pytest.approx(printed[metric], abs=0.02), metric  # MaPLe's printed base average is 0.01 off its own column
        assert cell.published == printed[metric]
        assert len(cell.datasets) == 11


def test_average_h_is_the_harmonic_mean_of_the_averages_and_not_the_average_h(published_table):
    cells = {metric: published_table.cell(AVERAGE, "CoOp", metric).mean for metric in ("base", "new", "H")}
    assert cells["H"] == pytest.approx(2 * cells["base"] * cells["new"] / (cells["base"] + cells["new"]))
    mean_h = sum(published_table.cell(d, "CoOp", "H").mean for d in published_table.datasets) / 11
    assert abs(mean_h - cells["H"]) > 0.5


def test_spread_is_the_sample_standard_deviation_and_the_seeds_are_counted(published_table):
    cell = published_table.cell("EuroSAT", "MaPLe", "base")
    assert (cell.n_seeds, cell.n_seeds_asked) == (3, 3)
    assert cell.spread == pytest.approx(0.3)  # of -0.3, 0, 0.3 with n - 1; with n it would be 0.245
    assert published_table.cell(AVERAGE, "MaPLe", "new").spread == pytest.approx(0.3)
    zero_shot = published_table.cell("EuroSAT", "ZeroshotCLIP", "base")
    assert (zero_shot.n_seeds, zero_shot.n_seeds_asked, zero_shot.spread) == (1, 1, None)


def test_differences_beyond_the_spread_are_marked_and_others_not(tmp_path):
    for dataset, shift in (("EuroSAT", 1.0), ("UCF101", 0.2)):
        figures = published.published()["base_to_new"]["MaPLe"][dataset]
        for seed in (1, 2, 3):
            write_base2new(tmp_path, "MaPLe", dataset, seed, figures["base"] + shift + 0.3 * (seed - 2), figures["new"])
    (table,) = tables_of(tmp_path)
    assert table.cell("EuroSAT", "MaPLe", "base").is_beyond_spread
    assert not table.cell("UCF101", "MaPLe", "base").is_beyond_spread
    text = to_terminal([table])
    assert "+1.00*" in text and "+0.20*" not in text and "+0.20" in text
    csv_rows = {(r["dataset"], r["metric"]): r for r in csv.DictReader(io.StringIO(to_csv([table])))}
    assert csv_rows["EuroSAT", "base"]["beyond_spread"] == "True"
    # over two datasets the published average beside it is that of the same two
    two = [published.published()["base_to_new"]["MaPLe"][d]["base"] for d in ("EuroSAT", "UCF101")]
    assert table.cell(AVERAGE, "MaPLe", "base").published == pytest.approx(sum(two) / 2)
    assert any("over 2 datasets, the papers' over 11; the published average beside it" in note for note in table.notes)


def test_one_seed_has_no_spread_and_marks_nothing(tmp_path):
    write_base2new(tmp_path, "MaPLe", "EuroSAT", 1, 50.0, 50.0)
    cell = tables_of(tmp_path)[0].cell("EuroSAT", "MaPLe", "base")
    assert cell.difference == pytest.approx(50 - 94.07) and not cell.is_beyond_spread


def test_missing_cells_are_marked_and_averages_say_over_how_many(tmp_path):
    for seed in (1, 2, 3):
        write_base2new(tmp_path, "MPL", "Shapes", seed, 70.0, 60.0)
        write_base2new(tmp_path, "MPL", "EuroSAT", seed, 90.0, 80.0 if seed < 3 else None)
        write_base2new(tmp_path, "MaPLe", "Shapes", seed, 50.0, 40.0)
    (table,) = tables_of(tmp_path)
    assert table.cell("EuroSAT", "MaPLe", "H").mean is None
    assert table.cell(AVERAGE, "MaPLe", "base").mean == 50.0
    assert table.cell(AVERAGE, "MPL", "base").mean == 80.0
    new = table.cell("EuroSAT", "MPL", "new")
    assert (new.n_seeds, new.n_seeds_asked) == (2, 3)
    assert table.cell("EuroSAT", "MPL", "H").n_seeds == 2
    text = to_terminal([table])
    for told in (
        "missing (—): MaPLe on EuroSAT",
        "MPL on EuroSAT new (2 of 3)",
        "the average of MaPLe is over 1 of 2 datasets: not to be compared",
        "(1/2 datasets)",
        "(2/3 seeds)",
    ):
        assert told in text
    assert "missing (—):" not in to_terminal(tables_of(tmp_path, asked=Asked(methods=("MPL",))))


def test_what_was_asked_for_and_is_not_there_is_missing(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    (table,) = tables_of(tmp_path, asked=Asked(datasets=("EuroSAT", "UCF101"), methods=("CoOp", "MPL"), seeds=(1, 2)))
    assert table.datasets == ["EuroSAT", "UCF101"] and table.labels == ["CoOp", "MPL"]
    assert table.cell("EuroSAT", "MPL", "base").n_seeds_asked == 2
    assert table.cell(AVERAGE, "MPL", "base").is_partial
    assert "missing (—): CoOp on EuroSAT; CoOp on UCF101; MPL on UCF101" in table.notes


def test_half_a_run_has_no_h(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, None)
    (table,) = tables_of(tmp_path)
    assert table.cell("EuroSAT", "MPL", "base").mean == 90.0 and table.cell("EuroSAT", "MPL", "H").mean is None
    assert "missing (—): MPL on EuroSAT (new)" in table.notes


def test_unfinished_and_unreadable_runs_are_told_and_left_out(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_run(tmp_path / "unfinished", "MPL", "UCF101", 1.0, finished=False)
    write_run(tmp_path / "untested", "MPL", "UCF101", None)
    write_run(tmp_path / "val", "MPL", "UCF101", 1.0, split="val")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/result.json").write_text('{"finished": tr')
    found = find_runs([tmp_path])
    assert len(found.runs) == 2
    told = "\n".join(found.notes)
    for name, reason in (
        ("unfinished", "not finished"),
        ("untested", "without a test"),
        ("val", "split 'val'"),
        ("broken", "no result can be read"),
    ):
        assert any(name in note and reason in note for note in found.notes), told


def test_differing_hardware_commit_and_precision_are_warned_of(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_base2new(tmp_path, "MaPLe", "EuroSAT", 1, 90.0, 80.0, device="NVIDIA A100", commit="f" * 40, settings={"PREC": "amp"})
    (table,) = tables_of(tmp_path)
    text = to_terminal([table])
    assert "WARNING: the cells of this table differ in hardware: Tesla T4: 2 runs (MPL); NVIDIA A100: 2 runs (MaPLe)" in text
    assert "differ in commit: 0123456789ab" in text
    assert "differ in PREC: fp16: 2 runs (MPL); amp: 2 runs (MaPLe)" in text


def test_no_published_average_is_spoken_of_where_none_stands(tmp_path):
    for dataset in ("EuroSAT", "DescribableTextures"):
        write_base2new(tmp_path, "CoOp", dataset, 1, 90.0, 80.0, backbone="Tiny-Shapes")
    (table,) = tables_of(tmp_path)
    assert "the average is over 2 datasets, the papers' over 11" in table.notes


def test_a_commit_that_does_not_say_what_has_run_is_told(tmp_path):
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=tmp_path / "tree", check=True, capture_output=True
        )

    (tmp_path / "tree").mkdir()
    assert is_modified(str(tmp_path / "tree")) is None
    (tmp_path / "tree/a.py").write_text("1")
    for words in (("init",), ("add", "a.py"), ("commit", "-m", "a")):
        git(*words)
    (tmp_path / "tree/output").touch()
    (tmp_path / "tree/.git/info/exclude").write_text("/data/")
    (tmp_path / "tree/trainers").mkdir()
    for place in ("data/b.py", "env/lib/site-packages/b/b.py", "trainers/notes.txt"):  # ignored; a virtual environment; no code
        (tmp_path / "tree" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / place).touch()
    assert is_modified(str(tmp_path / "tree")) is False
    for place in ("b.py", "trainers/b.yaml", "trainers/b.sh"):  # files that git was never told of, such as a new method's
        (tmp_path / "tree" / place).touch()
        assert is_modified(str(tmp_path / "tree/trainers")) is True
        (tmp_path / "tree" / place).unlink()
    (tmp_path / "tree/a.py").write_text("2")
    assert is_modified(str(tmp_path / "tree")) is True
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0, modified=True)
    (table,) = tables_of(tmp_path)
    assert table.provenance.lines[1] == "commit: 0123456789ab (modified)"
    assert "0123456789abcdef0123456789abcdef01234567 (modified)" in to_csv([table])


def test_the_precision_told_is_the_one_that_was_computed_in(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0, computed_in="fp32", settings={"PREC": "fp16"})
    write_base2new(tmp_path, "ZeroshotCLIP", "EuroSAT", 1, 50.0, 60.0, computed_in="fp32")
    (table,) = tables_of(tmp_path)
    assert table.provenance.facts["PREC"] == {"fp32": 4}
    (alone,) = tables_of(tmp_path, asked=Asked(methods=("MPL",)))
    assert alone.provenance.warnings == []
    assert "hardware: Tesla T4" in alone.provenance.lines


def test_runs_of_other_settings_are_rows_of_their_own_and_the_newer_of_two_alike_counts(tmp_path):
    for n_add in (1, 2):
        write_base2new(tmp_path, "MPL", "EuroSAT", 1, 80.0 + n_add, 70.0, settings={"N_ADD_OP": n_add})
    (table,) = tables_of(tmp_path)
    assert table.labels == ["MPL (N_ADD_OP 1)", "MPL (N_ADD_OP 2)"]
    assert table.cell("EuroSAT", "MPL (N_ADD_OP 2)", "base").mean == 82.0
    alike = tmp_path / "alike"
    write_base2new(alike / "a", "MPL", "EuroSAT", 1, 50.0, 50.0)
    write_base2new(alike / "b", "MPL", "EuroSAT", 1, 60.0, 60.0, ended="2026-02-01T00:00:00+00:00")
    (table,) = tables_of(alike)
    assert table.cell("EuroSAT", "MPL", "base").mean == 60.0
    assert sum("which is newer" in note for note in table.notes) == 2


def test_settings_that_change_no_result_make_no_rows(tmp_path):
    for name, speed in (("a", True), ("b", False)):
        tree = config("MPL", tmp_path) | {"SPEED": {"TRIM_TEXT": speed}, "DATALOADER": {"CACHE_DIR": name, "CACHE_GIB": float(speed)}}
        write_base2new(tmp_path / name, "MPL", "EuroSAT", 1, 50.0, 50.0, config=tree)
    (table,) = tables_of(tmp_path)
    assert table.labels == ["MPL"] and not any("CACHE" in note or "SPEED" in note for note in table.notes)


def test_a_setting_that_differs_from_dataset_to_dataset_is_told_and_makes_no_row(tmp_path):
    write_base2new(tmp_path, "CoOp", "ImageNet", 1, 76.0, 67.0, epochs=50)
    write_base2new(tmp_path, "CoOp", "EuroSAT", 1, 92.0, 54.0, epochs=200)
    (table,) = tables_of(tmp_path)
    assert table.labels == ["CoOp"]
    assert "CoOp: OPTIM.MAX_EPOCH is not the same in all cells: 200 for EuroSAT; 50 for ImageNet" in table.notes


def test_published_figures_stand_only_beside_runs_measured_in_the_same_way(tmp_path):
    write_base2new(tmp_path / "vit", "MaPLe", "EuroSAT", 1, 90.0, 80.0)
    write_base2new(tmp_path / "rn", "MaPLe", "EuroSAT", 1, 90.0, 80.0, backbone="RN50")
    write_base2new(tmp_path / "few", "MaPLe", "EuroSAT", 1, 90.0, 80.0, shots=4)
    assert [tables_of(tmp_path / name)[0].has_published for name in ("vit", "rn", "few")] == [True, False, False]


@pytest.fixture(scope="module")
def transfer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResultTable]:
    root = tmp_path_factory.mktemp("transfer")
    data = published.published()
    train = write_run(root / "crossdataset/imagenet/CoOp/seed1", "CoOp", "ImageNet", 71.51, train_seconds=600.0)
    for section in ("cross_dataset", "domain_generalization"):
        for dataset, accuracy in data[section]["CoOp"].items():
            if dataset not in ("ImageNet", AVERAGE):
                target = root / "crossdataset/evaluation" / dataset / "CoOp/seed1"
                write_run(target, "CoOp", dataset, accuracy, loaded_from=checkpoint_of(train, "CoOp"), shots=-1)
                write_run(root / "ZeroshotCLIP" / dataset, "ZeroshotCLIP", dataset, data[section]["ZeroshotCLIP"][dataset], shots=-1)
    write_run(root / "twice", "CoOp", "ImageNet", 1.0, loaded_from=checkpoint_of(train, "CoOp"))
    experiments, notes = sort_into_experiments(find_runs([root]).runs)
    assert any("once more on its own dataset" in note for note in notes)
    return {experiment.protocol: make_table(experiment) for experiment in experiments}


def test_cross_dataset_and_domain_averages_leave_the_source_out(transfer):
    assert set(transfer) == {"xd", "dg"}
    for protocol, section in (("xd", "cross_dataset"), ("dg", "domain_generalization")):
        for method in ("CoOp", "ZeroshotCLIP"):
            printed = published.published()[section][method]["average"]
            assert transfer[protocol].cell(AVERAGE, method, "accuracy").mean == pytest.approx(printed, abs=0.01)
        assert transfer[protocol].cell("ImageNet", "CoOp", "accuracy").mean == 71.51
        assert "trained on ImageNet, 16 training pictures a class" in transfer[protocol].title
    assert "missing (—): ZeroshotCLIP on ImageNet" in transfer["xd"].notes


def test_zero_shot_halves_join_the_tables_that_have_their_dataset_and_none_is_lost(tmp_path):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 80.0)
    write_base2new(tmp_path / "few", "MPL", "EuroSAT", 1, 70.0, 60.0, shots=4)
    for dataset in ("EuroSAT", "UCF101"):
        write_base2new(tmp_path, "ZeroshotCLIP", dataset, 1, 50.0, 40.0)
    found = {table.title: (table.labels, table.datasets) for table in tables_of(tmp_path)}
    assert found == {
        "Base-to-new generalisation": (["ZeroshotCLIP"], ["UCF101"]),
        "Base-to-new generalisation, 4 training pictures a class": (["ZeroshotCLIP", "MPL"], ["EuroSAT"]),
        "Base-to-new generalisation, 16 training pictures a class": (["ZeroshotCLIP", "MPL"], ["EuroSAT"]),
    }


def test_a_test_of_a_training_that_is_not_at_hand_is_told(tmp_path):
    write_run(tmp_path / "t", "MPL", "EuroSAT", 50.0, loaded_from=checkpoint_of(tmp_path / "gone", "MPL"))
    write_run(tmp_path / "i", "MPL", "UCF101", 50.0, loaded_from=checkpoint_of(tmp_path / "gone/imagenet/MPL", "MPL"))
    experiments, notes = sort_into_experiments(find_runs([tmp_path]).runs)
    assert [(e.protocol, e.source) for e in experiments] == [("xd", "ImageNet")]
    assert len(notes) == 1 and "which is not at hand to say its dataset; give its folder as well" in notes[0]


def test_few_shot_tables_have_a_column_for_each_number_of_shots(tmp_path):
    for shots in (1, 2, 16):
        for seed in (1, 2):
            write_run(tmp_path / f"k{shots}/s{seed}", "MPL", "EuroSAT", 50.0 + shots + seed, shots=shots, seed=seed, train_seconds=9.0)
    write_run(tmp_path / "z", "ZeroshotCLIP", "EuroSAT", 47.84, shots=-1)
    (table,) = tables_of(tmp_path)
    assert (table.protocol, table.metrics) == ("fewshot", ("0", "1", "2", "16"))
    assert table.cell("EuroSAT", "MPL", "16").mean == 67.5
    assert table.cell("EuroSAT", "ZeroshotCLIP", "0").mean == 47.84
    assert not any("missing" in note for note in table.notes)
    lines = to_markdown([table]).splitlines()
    assert lines[4] == "| EuroSAT | ZeroshotCLIP | 1 | 47.84 |  |  |  |"  # no sign of a missing figure where none can be
    assert lines[2] == "| dataset | method | seeds | zero-shot | 1 shot | 2 shots | 16 shots |"


def test_csv_holds_every_digit(published_table, tmp_path):
    third = 100 / 3
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, third, 50.0)
    write_base2new(tmp_path, "MPL", "EuroSAT", 2, third + 1, 50.0)
    rows = {r["metric"]: r for r in csv.DictReader(io.StringIO(to_csv(tables_of(tmp_path))))}
    assert float(rows["base"]["mean"]) == (third + third + 1) / 2
    assert rows["base"]["by_seed"] == f"1:{third!r};2:{third + 1!r}"
    assert rows["base"]["n_seeds"] == "2" and rows["base"]["hardware"] == "Tesla T4" and rows["H"]["precisions"] == "fp16"


def test_no_cell_of_a_terminal_table_is_cut_in_a_pipe(published_table):
    text = to_terminal([published_table])
    assert "DescribableTextures" in text and "…" not in text
    widths = {len(line) for line in text.splitlines() if line.startswith(("│", "┏", "├"))}
    assert len(widths) == 1


def test_latex_is_well_formed_and_prints_its_signs(published_table):
    text = to_latex([published_table])
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + 12 * 5
    assert {line.count(" & ") for line in body} == {11}
    assert r"$\pm$ 0.30" in text and "±" not in "".join(body)


def test_claims_of_mpl_stand_where_its_published_table_would(published_table):
    assert "10.7 points, EuroSAT" in to_terminal([published_table])
    assert json.loads(published.PUBLISHED_PATH.read_text())["MPL_claims"]["per_dataset_table"] is None


def test_no_runs_is_an_error_that_names_the_next_step(tmp_path):
    with pytest.raises(FileNotFoundError, match="no result.json lies below .*; run something first"):
        find_runs([tmp_path])
    with pytest.raises(FileNotFoundError, match="is no folder; give the folders that runs were written to"):
        find_runs([tmp_path / "nowhere"])
