"""SIGTERM and Ctrl-C: the run saves, says so, ends with the status that schedulers expect, and goes on with the very next step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.launchers import environment
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


@pytest.mark.parametrize(
    ("moment", "again"),
    [("** Command **", "the same command goes on"), ("epoch [1/3]", "the same command without --fresh (--force in the launchers) goes on")],
    ids=["before it has begun anew", "after"],
)
def test_a_fresh_run_that_is_stopped_says_how_to_go_on(bench: Bench, tmp_path: Path, moment: str, again: str) -> None:
    run = bench.start(tmp_path / "run", flags=("--fresh",))
    run.wait_for(moment)
    run.send(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert f"What is saved is whole, and {again} from there." in run.text and "Traceback" not in run.text


@pytest.mark.parametrize("to_all", [True, False], ids=["all processes", "the shell alone"])
def test_a_launcher_waits_for_its_run_to_save(to_all: bool) -> None:
    """A scheduler signals all processes of a job, or the shell of its script, and kills those that are left when the launcher is gone."""
    saving = "lambda *_: (time.sleep(0.3), os.write(1, b'saved\\n'), os._exit(143))"  # the signal may come within the print below
    if to_all:
        handlers = f"signal.signal(signal.SIGTERM, {saving}); signal.signal(signal.SIGUSR1, signal.SIG_IGN)"
    else:
        handlers = f"signal.signal(signal.SIGUSR1, {saving})"
    program = f"import os, signal, time; {handlers}; print('runs', flush=True); time.sleep(30)"
    script = f""". scripts/common.sh; supervise . "{sys.executable}" -c "{program}"; echo goes on"""
    launcher = subprocess.Popen(["bash", "-c", script], cwd=REPO, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert launcher.stdout is not None and launcher.stdout.readline() == "runs\n"
    (os.killpg if to_all else os.kill)(launcher.pid, signal.SIGTERM)
    assert launcher.wait(20) == 143
    os.set_blocking(launcher.stdout.fileno(), False)
    assert launcher.stdout.read() == "saved\n", "it was there when the launcher ended, and nothing more was run"


def test_what_a_supervised_command_gives() -> None:
    """Its status, its words, what stands in its standard input, and Ctrl-C, which shells keep from what runs in the background."""
    script = f"""
        . scripts/common.sh
        echo asked | supervise . "{sys.executable}" -c "print(input())"
        status=0; supervise . "{sys.executable}" -c "exit(3)" || status=$?; echo $status
        status=0; supervise . ./no-such-program 2>/dev/null || status=$?; echo $status
        supervise . "{sys.executable}" -c "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        supervise . "{sys.executable}" -c "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(30)"
        echo goes on"""
    done = subprocess.run(["bash", "-c", script], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split("\n"), done.returncode) == (["asked", "3", "127", "True", ""], 130), done.stderr


@pytest.mark.parametrize(
    ("words", "module", "signums", "status", "told"),
    [
        ("train.py --trainer MPL", "torch", ["SIGUSR1"], 143, "cleared"),
        ("tools/reproduce.py base2new --plan", "rich", ["SIGUSR1"], 143, "cleared"),
        ("tools/prepare.py --list", "rich", ["SIGUSR1"], 143, "cleared"),
        ("tools/prepare.py --list", "rich", ["SIGINT", "SIGUSR1"], 130, "cleared"),
        ("tools/prepare.py --list", "rich", ["SIGUSR1", "SIGINT"], 143, "cleared"),
        ("tools/prepare.py --list", "rich", ["SIGINT", "SIGINT"], 130, ""),
    ],
)
def test_what_a_launcher_passes_on_before_the_work_begins(
    words: str, module: str, signums: list[str], status: int, told: str, tmp_path: Path
) -> None:
    """Each program clears up and ends with the status of the signal; a package that takes long to be imported stands for its work."""
    program = """
        import os, time
        try:
            print("imported", flush=True)
            time.sleep(30)
        finally:
            time.sleep(0.5)
            os.write(1, b"cleared")
        """
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text(textwrap.dedent(program))
    call, variables = [sys.executable, *words.split()], environment(tmp_path, PYTHONPATH=str(tmp_path))
    process = subprocess.Popen(call, cwd=REPO, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "imported\n"
    for name in signums:
        process.send_signal(getattr(signal, name))
        time.sleep(0.2)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (status, told), err
    assert "Traceback" not in err
    assert ("what has come is kept" in err) == ("prepare" in words)


def test_a_signal_to_the_launchers_shell_reaches_the_run(tmp_path: Path) -> None:
    """As `kill PID-of-bash` sends it, and schedulers to a batch script: the run saves, both end, and the same command goes on to the same result."""
    call = [
        "bash",
        "scripts/mpl/base2new_train.sh",
        "shapes",
        "1",
        "1",
        "DATALOADER.NUM_WORKERS",
        "0",
        "TRAIN.PRINT_FREQ",
        "1",
        "TEST.NO_TEST",
        "True",
    ]
    stopped, whole = (environment(tmp_path, OUTPUT=str(tmp_path / name), SHOTS="8", PYTHONUNBUFFERED="1") for name in ("stopped", "whole"))
    launcher = subprocess.Popen(call, cwd=REPO, env=stopped, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.startswith("epoch [1/1] batch [2/24]"):
            launcher.send_signal(signal.SIGTERM)
            break
    told = launcher.stdout.read()
    assert launcher.wait(20) == 143, told
    assert "Stopped by sigterm at epoch [" in told and "the same command goes on from there" in told and "Traceback" not in told
    for variables in (stopped, whole):
        done = subprocess.run(call, cwd=REPO, env=variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("Going on within epoch" in done.stdout) == (variables is stopped)
    folders = [next((tmp_path / name).rglob("result.json")).parent for name in ("stopped", "whole")]
    assert_same(*map(outcome, folders), "a signal to the launcher's shell")
