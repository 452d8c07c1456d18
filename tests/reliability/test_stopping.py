"""SIGTERM and Ctrl-C: the run saves, says so, ends with the status that schedulers expect, and goes on with the very next step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.conftest import REPO, Bench, outcome
from tests.reliability.same import assert_same


@pytest.mark.parametrize(
    ("signum", "status", "workers", "at"),
    [
        (signal.SIGTERM, 143, 0, "epoch [2/3] batch [2/5]"),
        (signal.SIGTERM, 143, 2, "epoch [1/3] batch [1/5]"),
        (signal.SIGINT, 130, 2, "epoch [3/3] batch [4/5]"),
    ],
)
def test_a_stopped_run_goes_on_with_the_next_step(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, signum: int, status: int, workers: int, at: str
) -> None:
    """The signal reaches the loading processes as well, as from a scheduler or a terminal."""
    options = ("DATALOADER.NUM_WORKERS", workers)
    run = bench.start(tmp_path / "run", *options)
    run.wait_for(at)
    run.send(signum, to_all=True)
    assert run.wait() == status, run.text
    told = run.text
    assert f"Stopped by {signal.Signals(signum).name.lower()}" in told and "the same command goes on from there" in told
    assert "Traceback" not in told
    assert '"finished": true' not in (tmp_path / "run" / "result.json").read_text()
    status, text = bench.run(tmp_path / "run", *options)
    assert status == 0, text
    if " at epoch [" in told:  # else the signal came at the end of an epoch
        assert "Going on within epoch" in text
    assert_same(outcome(tmp_path / "run"), whole, f"{signum} at {at}, workers {workers}")


def test_a_second_signal_is_obeyed_at_once(bench: Bench, whole: dict[str, Any], tmp_path: Path) -> None:
    run = bench.start(tmp_path / "run")
    run.wait_for("epoch [2/3]")
    for _ in range(2):
        run.send(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert bench.run(tmp_path / "run")[0] == 0
    assert_same(outcome(tmp_path / "run"), whole, "two signals")


def test_a_signal_before_training_ends_the_run(bench: Bench, tmp_path: Path) -> None:
    run = bench.start(tmp_path / "run")
    run.wait_for("** Command **")
    run.send(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert "Traceback" not in run.text


def test_a_launcher_waits_for_its_run_to_save() -> None:
    """A scheduler signals all processes of a job, and kills those that are left when the launcher is gone."""
    saving = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('saved', flush=True), exit(143)))"
    script = f""". scripts/common.sh; (exec "{sys.executable}" -c "{saving}; print('runs', flush=True); time.sleep(30)"); echo goes on"""
    launcher = subprocess.Popen(["bash", "-c", script], cwd=REPO, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert launcher.stdout is not None and launcher.stdout.readline() == "runs\n"
    os.killpg(launcher.pid, signal.SIGTERM)
    assert launcher.wait(20) == 143
    os.set_blocking(launcher.stdout.fileno(), False)
    assert launcher.stdout.read() == "saved\n", "it was there when the launcher ended, and nothing more was run"
