"""tools/results.py and tools/base2new_result.py as commands."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from run_files import write_base2new, write_run

from tools import base2new_result
from tools.results import main


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for seed in (1, 2):
        write_base2new(tmp_path / "output", "MPL", "EuroSAT", seed, 90.0 + seed, 80.0)
        write_base2new(tmp_path / "output", "MaPLe", "OxfordPets", seed, 90.0, 80.0 + seed, device="NVIDIA A100")
    write_run(tmp_path / "output/unfinished", "MPL", "UCF101", None, finished=False)
    return tmp_path / "output"


def test_terminal_table_in_a_pipe(output, capsys):
    assert main([str(output)]) == 0
    told = capsys.readouterr()
    assert "│ EuroSAT" in told.out and "91.50 ± 0.71" in told.out and "\x1b" not in told.out
    assert "unfinished/result.json is of a run that is not finished" in told.err
    assert "WARNING: the cells of this table differ in hardware: Tesla T4: 4 runs (MPL); NVIDIA A100: 4 runs (MaPLe)" in told.out


@pytest.mark.parametrize(
    ("kind", "begins"), [("markdown", "### Base-to-new"), ("latex", "% needs"), ("csv", "protocol,"), ("html", "<!DOCTYPE html>")]
)
def test_every_format_is_written_to_a_file(output, tmp_path, capsys, kind, begins):
    path = tmp_path / "made/results.txt"
    assert main([str(output), "--format", kind, "--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith(begins)
    told = capsys.readouterr()
    assert told.out == "" and f"Written: {path}" in told.err
    assert "WARNING: Base-to-new generalisation, 16 training pictures a class: the cells of this table differ in hardware" in told.err


def test_what_is_asked_for_is_in_the_table_and_nothing_else(output, capsys):
    assert main([str(output), "--methods", "MPL,CoOp", "--datasets", "eurosat,oxford_pets", "--seeds", "1,2,3", "--format", "csv"]) == 0
    rows = {(r["dataset"], r["method"], r["metric"]): r for r in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert {key[1] for key in rows} == {"MPL", "CoOp"} and {key[0] for key in rows} == {"average", "EuroSAT", "OxfordPets"}
    assert (rows["EuroSAT", "MPL", "base"]["n_seeds"], rows["EuroSAT", "MPL", "base"]["n_seeds_asked"]) == ("2", "3")
    assert rows["OxfordPets", "MPL", "base"]["mean"] == ""


def test_figures_are_written_beside(output, tmp_path, capsys):
    assert main([str(output), "--methods", "MPL", "--figures", str(tmp_path / "figures")]) == 0
    made = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert made == ["bars_base2new_16.png", "bars_base2new_16.svg", "time_base2new_16.png", "time_base2new_16.svg"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--protocols", "base2new,zero"], "--protocols has zero; known: base2new, xd, dg, fewshot"),
        (["--protocols", "dg"], "no finished run below .* is of what was asked for"),
        (["--seeds", "1,two"], "--seeds is '1,two'; it takes whole numbers"),
        (["--pivot"], "--pivot: no setting of TRAINER differs"),
    ],
)
def test_mistakes_are_told_in_a_line(output, capsys, words, told):
    import re

    assert main([str(output), *words]) == 2
    assert re.search(f"^Error: .*{told}", capsys.readouterr().err, re.MULTILINE)


def test_pivot_of_a_grid(tmp_path, capsys):
    for n_add in (1, 2):
        for n_remove in (0, 1):
            settings = {"N_ADD_OP": n_add, "N_RM_OP": n_remove}
            write_base2new(tmp_path / "grid", "MPL", "EuroSAT", 1, 50.0 + n_add, 60.0 + n_remove, settings=settings)
    write_base2new(tmp_path / "base2new", "MPL", "EuroSAT", 1, 70.0, 70.0, settings={"N_ADD_OP": 2, "N_RM_OP": 1})
    assert main([str(tmp_path), "--format", "markdown"]) == 0
    told = capsys.readouterr()
    assert "| EuroSAT | MPL | 1 | 70.00 |" in told.out and "left out: the runs of a grid of settings in" in told.err
    assert main([str(tmp_path / "grid"), "--pivot", "N_RM_OP,N_ADD_OP", "--metric", "new", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "new of MPL on EuroSAT by TRAINER.MPL.N_RM_OP and TRAINER.MPL.N_ADD_OP" in out
    assert "| N_RM_OP | N_ADD_OP 1 | N_ADD_OP 2 |" in out and "| 1 | 61.00 | 61.00 |" in out


def test_base_new_and_h_of_one_run(tmp_path, capsys):
    write_base2new(tmp_path, "MPL", "EuroSAT", 1, 90.0, 60.0)
    base, new = (str(tmp_path / half / "EuroSAT/MPL/seed1") for half in ("train_base", "test_new"))
    assert base2new_result.main([base, new]) == 0
    assert capsys.readouterr().out == "EuroSAT: base 90.00  new 60.00  H 72.00\n"
    assert base2new_result.main([new, base]) == 2
    assert "is of the classes 'new', not 'base'" in capsys.readouterr().err
    write_base2new(tmp_path, "MPL", "UCF101", 1, 90.0, 60.0)
    assert base2new_result.main([base, new.replace("EuroSAT", "UCF101")]) == 2
    assert "base is of EuroSAT" in capsys.readouterr().err
