"""tools/doctor.py as people run it: what it prints, and its exit status."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from diagnosis import report
from diagnosis.published import readers
from tools import doctor

REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Weights of the machine that runs the tests play no part."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_sound_dataset_gives_0_and_a_row_of_numbers(lay_out, run_doctor):
    lay_out("eurosat")
    status, out, err = run_doctor("eurosat")
    assert (status, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("eurosat"))
    assert row.split() == ["eurosat", "5", "54", "18", "10", "82", "of", "82", "3,", "5", "2,", "5", "sound"]
    assert "All that was asked for is sound." in out and "FAULT" not in out and "free" in out


@pytest.mark.parametrize("name", ("EuroSAT", "EUROSAT", "euro_sat"))
def test_names_are_taken_as_people_write_them(name, lay_out, run_doctor):
    lay_out("eurosat")
    assert run_doctor(name)[0] == 0


def test_a_fault_gives_1_and_two_lines(root, lay_out, run_doctor):
    split = lay_out("eurosat")
    picture = split["test"][0][0]
    (root / "eurosat/2750" / picture).write_bytes(b"")
    status, out, _ = run_doctor("eurosat")
    assert status == 1 and out.splitlines()[-3:-1] == [
        f"FAULT eurosat: 1 of its pictures are empty files: {picture}",
        f"""      cure: python tools/prepare.py eurosat --root {"'" + str(root).replace("'", "'" + '"' + "'" + '"' + "'") + "'"} --force""",
    ]


def test_published_counts_are_shown_in_brackets(lay_out, run_doctor):
    lay_out("eurosat")
    status, out, _ = run_doctor("eurosat", counts=None)  # the true published figures
    assert status == 1
    assert "5 (10)" in out and "54 (13,500)" in out and "18 (5,400)" in out and "10 (8,100)" in out
    assert "classes 5 (published: 10), train 54 (published: 13,500)" in out


def test_without_names_what_is_there_decides(root, lay_out, run_doctor):
    status, out, _ = run_doctor()
    assert status == 1 and "Not there: caltech101, oxford_pets" in out
    assert "cure: python tools/prepare.py caltech101 oxford_pets stanford_cars" in out and "bash scripts/zsclip/base2new.sh shapes" in out
    n = len(readers())
    last = out.splitlines()[-1]
    assert last == f"No dataset is here; not here: {n} datasets and ViT-B/16 (the commands that get them stand above)."
    lay_out("eurosat")
    status, out, _ = run_doctor()
    assert status == 0 and out.count("not there") == n  # 15 datasets and ViT-B/16
    assert out.splitlines()[-1].startswith(f"What is here is sound; not here: {n - 1} datasets and ViT-B/16 (")
    lay_out("dtd")
    (root / "dtd/split_zhou_DescribableTextures.json").unlink()
    status, out, _ = run_doctor()
    assert status == 1 and "FAULT dtd:" in out and "FAULT caltech101" not in out
    assert out.splitlines()[-1].startswith(f"Not all that is here is sound; not here: {n - 2} datasets")


def test_a_dataset_asked_for_by_name_has_to_be_there(lay_out, run_doctor):
    lay_out("eurosat")
    status, out, _ = run_doctor("eurosat", "dtd")
    assert status == 1 and "FAULT dtd:" in out


def test_a_data_folder_that_is_not_there_yet(root, run_doctor):
    status, out, _ = run_doctor("eurosat", root=root / "new")
    assert status == 1 and "(it does not exist yet)" in out and f"{root}/new" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eurosta"], "There is no dataset 'eurosta'. Did you mean eurosat? Known: caltech101, oxford_pets,"),
        (["folder"], "holds pictures of your own"),
        (["--weights", "ViT-B/61"], "'ViT-B/61' is neither the name of published weights nor a file. Did you mean ViT-B/16?"),
        (["--decoed"], "unrecognized arguments: --decoed"),
    ],
)
def test_a_wrong_command_line_gives_2(arguments, message, run_doctor):
    status, out, err = run_doctor(*arguments)
    assert (status, out) == (2, "") and message in err


def test_a_root_that_is_a_file_gives_2(tmp_path, run_doctor):
    (tmp_path / "data").write_text("")
    status, _, err = run_doctor(root=tmp_path / "data")
    assert status == 2 and "which is not a folder" in err


@pytest.mark.parametrize(
    ("content", "message"), [("[1]", "expected are counts"), ("eurosat: {class: 3}", "expected are counts"), ("{", "is no table")]
)
def test_a_wrong_table_of_counts_gives_2(content, message, tmp_path, run_doctor):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    status, _, err = run_doctor(counts=path)
    assert status == 2 and message in err and str(path) in err


def test_json_holds_everything_in_the_table(root, lay_out, run_doctor):
    lay_out("eurosat")
    (root / "eurosat/split_zhou_EuroSAT.json").rename(root / "eurosat/2750/split_zhou_EuroSAT.json")
    status, out, _ = run_doctor("eurosat", "imagenet_a", "--json", "--weights", "Tiny-Shapes")
    told = json.loads(out)
    assert status == 1 and told["root"] == str(root) and told["free_bytes"] > 0 and not told["is_sound"]
    eurosat, imagenet_a = told["datasets"]
    assert (eurosat["name"], eurosat["is_found"], eurosat["findings"][0]["kind"]) == ("eurosat", True, "list missing")
    assert (imagenet_a["is_found"], imagenet_a["findings"][0]["is_command"]) == (False, True)
    assert told["weights"][0]["is_sound"] and told["weights"][0]["path"].endswith("clip/tiny_shapes.safetensors")


def test_decoding_adds_a_column(root, lay_out, run_doctor):
    split = lay_out("eurosat")
    path = root / "eurosat/2750" / split["val"][0][0]
    path.write_bytes(path.read_bytes()[:300])
    assert run_doctor("eurosat")[0] == 0
    status, out, _ = run_doctor("eurosat", "--decode")
    assert status == 1 and "unreadable" in out and "1 of its pictures cannot be decoded" in out


def test_little_free_space_is_said_and_is_no_fault(lay_out, run_doctor, monkeypatch):
    lay_out("eurosat")
    monkeypatch.setattr(report.shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(10**9, 10**9, 12_000_000))
    status, out, _ = run_doctor("eurosat")
    assert status == 0 and "note  disk: 12.0 MB are free" in out


def test_the_data_folder_comes_from_the_environment(root, lay_out, monkeypatch, capsys):
    lay_out("eurosat")
    monkeypatch.setenv("DATA", str(root))
    doctor.main(["eurosat"])
    assert f"Data folder {root};" in capsys.readouterr().out


def test_no_cell_is_cut_where_the_output_is_no_terminal(root, lay_out, run_doctor, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lay_out("imagenet_sketch")
    out = run_doctor("imagenet_sketch", counts=None)[1]
    assert "imagenet_sketch" in out and "10 (50,889)" in out and "1 fault" in out and "…" not in out


def test_the_file_runs_as_a_program(root, lay_out):
    """In a process of its own, from another folder, as the README has it."""
    lay_out("eurosat")
    command = [sys.executable, str(REPO / "tools/doctor.py"), "eurosat", "--root", str(root), "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (1, "") and json.loads(done.stdout)["datasets"][0]["n_present"] == 82
    assert not (root / "data").exists() and shutil.which("bash")
