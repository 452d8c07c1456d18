"""The command lines as people use them: numbers, files and exit codes on the embedded dataset."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
TRAIN_BASE = "base2new/train_base/shapes/shots_16"
TEST_NEW = "base2new/test_new/shapes/shots_16"


@pytest.fixture(scope="module")
def data(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(drawn, tmp_path_factory.mktemp("end_to_end") / "data")


def start(data: Path, output: Path, *words: str, **variables: str) -> subprocess.Popen:
    """The launcher `scripts/<words[0]>`, or `train.py` with the method `words[1]` on Shapes, as a process."""
    command = ["bash", f"scripts/{words[0]}", *words[1:]]
    if words[0] == "train.py":
        given = f"--root {data} --output-dir {output} --dataset-config-file configs/datasets/shapes.yaml"
        given += f" --trainer {words[1]} --config-file configs/trainers/{words[1]}/tiny_shapes.yaml --seed 1"
        command = [sys.executable, "train.py", *given.split(), *words[2:]]
    folders = {"DATA": str(data), "OUTPUT": str(output), "PYTHON": sys.executable}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=REPO, env=os.environ | folders | variables, **pipes)


def launch(data: Path, output: Path, *words: str, status: int = 0, **variables: str) -> str:
    """What the command of `start` prints; its exit status is checked."""
    process = start(data, output, *words, **variables)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == status, printed
    return printed


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def wait_for_epoch(process: subprocess.Popen, epoch: int) -> None:
    """Read what a run prints until it is in that epoch."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"epoch [{epoch}/"):
            return
    raise AssertionError(f"the run ended before epoch {epoch}")


def test_the_first_command_of_the_readme(data: Path, tmp_path: Path) -> None:
    assert "Shapes: base 73.89  new 66.94  H 70.25" in launch(
        data, tmp_path, "mpl/base2new.sh", "shapes", "1"
    )
    run = tmp_path / TRAIN_BASE / "MPL/tiny_shapes/seed1"
    assert result(run)["finished"] and (run / "prompts.safetensors").is_file()
    assert (run / "MultiModalPromptLearner/checkpoint").read_text().strip() == "model.pth.tar-5"
    log = (run / "log.txt").read_text()
    for pattern in (
        r"epoch \[1/5\] batch \[\d+/48\] time \d\.\d{3} \(\d\.\d{3}\) data .* loss \d.* lr 1\.0000e-05 eta",
        r"Finish training\n(.*\n)*?Deploy the last-epoch model\n(.*\n)*?Evaluate on the \*test\* set",
        r"=> result\n\* total: 720\n\* correct: 532\n\* accuracy: 73\.9%\n\* error: 26\.1%\n\* macro_f1: \d",
        r"Elapsed: \d:\d\d:\d\d",
    ):
        assert re.search(pattern, log), pattern

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "73.89" in launch(data, tmp_path, "mpl/base2new.sh", "shapes", "1")  # skipped
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    printed = launch(data, tmp_path, "mpl/base2new.sh", "shapes", "1", "OPTIM.LR", "0.1", status=2)
    assert "OPTIM.LR" in printed and result(run) == json.loads(before[run / "result.json"])
    same = ("train.py", "MPL", "DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", "16")
    assert "Results are there" in launch(data, run, *same)
    launch(data, run, *same, "TEST.NO_TEST", "True", status=2)
    assert result(run)["accuracy"] == pytest.approx(73.8889, abs=1e-3)


def test_a_killed_run_resumes_to_the_same_numbers(data: Path, tmp_path: Path) -> None:
    process = start(data, tmp_path, "mpl/base2new.sh", "shapes", "2", "TRAIN.PRINT_FREQ", "1")
    wait_for_epoch(process, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = tmp_path / TRAIN_BASE / "MPL/tiny_shapes/seed2"
    done = result(run)["epochs_done"]
    assert not result(run)["finished"] and done >= 2
    printed = launch(data, tmp_path, "mpl/base2new.sh", "shapes", "2", "TRAIN.PRINT_FREQ", "1")
    assert f"epoch [{done}/5]" not in printed and f"epoch [{done + 1}/5]" in printed
    assert "base 65.00  new 58.89" in printed
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [epoch for epoch in range(1, 6) for _ in range(48)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_that_resumes(number: int, status: int, data: Path, tmp_path: Path) -> None:
    settings = ("TRAIN.PRINT_FREQ", "1", "TEST.NO_TEST", "True")
    process = start(data, tmp_path, "vpt/base2new_train.sh", "shapes", "1,2", "3", *settings)
    wait_for_epoch(process, 2)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == status
    (run,) = (path.parent for path in tmp_path.rglob("result.json"))  # the second run did not begin
    done = result(run)["epochs_done"]
    assert not result(run)["finished"] and done in (1, 2)
    printed = launch(data, tmp_path, "vpt/base2new_train.sh", "shapes", "1", "3", *settings)
    assert f"epoch [{done}/3]" not in printed and f"epoch [{done + 1}/3]" in printed
    assert result(run)["finished"]


def test_force_moves_the_old_run_aside(data: Path, tmp_path: Path) -> None:
    words = ("vpt/base2new_train.sh", "shapes", "1", "1", "TEST.NO_TEST", "True")
    launch(data, tmp_path, *words, SHOTS="1")
    run = next(tmp_path.rglob("result.json")).parent
    first = (run / "result.json").read_bytes()
    assert "Results are there" in launch(data, tmp_path, *words, SHOTS="1")
    launch(data, tmp_path, *words, "--force", SHOTS="1")
    (aside,) = run.parent.glob(f"{run.name}.old-*")
    assert (aside / "result.json").read_bytes() == first
    assert result(run)["finished"] and result(run)["started"] != json.loads(first)["started"]


def test_another_method_has_the_numbers_of_before(data: Path, tmp_path: Path) -> None:
    assert "new 72.08" in launch(data, tmp_path, "maple/base2new.sh", "shapes", "1")


@pytest.mark.parametrize(
    "words",
    [
        ("mpl/base2new_train.sh", "shapes", "1", "TRAINER.MPL.N_CTXX", "1"),
        ("mpl/base2new_train.sh", "eurosat", "1"),  # no such folder
        ("mpl/base2new_test.sh", "shapes", "7"),  # no training
    ],
)
def test_mistakes_end_with_status_2_and_leave_no_run(words: tuple, data: Path, tmp_path: Path) -> None:
    printed = launch(data, tmp_path, *words, status=2)
    assert "Traceback" not in printed
    assert not list(tmp_path.rglob("result.json"))
