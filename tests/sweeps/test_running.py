"""How a sweep runs: several at once, failures, its own end, and two starts at once; with a stand-in for training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps import report, slots
from sweeps.job import LOCKED_STATUS, log_tail
from sweeps.job import main as job
from tests.launchers import REPO, environment
from tests.sweeps.stand_in import StandIn

BELOW = "shots_16/MPL/vit_b4_c1_add2_rm1"
N_CORES = len(slots.usable_cores())


def is_alive(pid: str) -> bool:
    """Whether the process runs; one that has ended and waits to be noticed does not."""
    try:
        os.kill(int(pid), 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_sweep_runs_all_and_again_runs_nothing(reproduce: Callable, stand_in: StandIn) -> None:
    status, out, _ = reproduce("base2new,xd --methods MPL --datasets eurosat,dtd --seeds 1")
    assert status == 0
    assert len(stand_in.finished()) == 4 + 3
    assert "7 of 7 runs are finished (0 were there); 0 failed or left out" in out
    order = stand_in.folders()
    for part, train in (("test_new/eurosat", "train_base/eurosat"), ("evaluation/dtd", "crossdataset/imagenet")):
        first, last = ([i for i, folder in enumerate(order) if p in folder] for p in (train, part))
        assert (len(first), len(last), first[0] < last[0]) == (1, 1, True)
    assert {row[3] for row in stand_in.calls()} == {"-"}  # one at a time is given what a launcher by hand is given
    status, out, _ = reproduce("base2new,xd --methods MPL --datasets eurosat,dtd --seeds 1")
    assert (status, len(stand_in.folders())) == (0, 7)
    assert "7 of 7 runs are finished (7 were there)" in out
    assert out.splitlines()[-1] == f"Tables of what is finished: python tools/results.py {stand_in.path.parent}/output"


def test_relative_paths_of_settings_are_of_the_folder_one_is_in(
    reproduce: Callable, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = "base2new --datasets eurosat --seeds 1 --set MODEL.INIT_WEIGHTS=m.pth"
    assert reproduce(words)[0] == 0
    for folder in stand_in.finished():
        assert f"MODEL.INIT_WEIGHTS {tmp_path}/here/m.pth\n" in (tmp_path / "output" / folder / "settings.txt").read_text()
    assert "2 runs: 2 finished" in reproduce(f"{words} --plan")[1]


def test_a_failure_is_told_and_the_others_go_on(reproduce: Callable, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.behave(train_base__dtd="fail", train_base__ucf101="kill")
    status, out, _ = reproduce("base2new --datasets dtd,ucf101,eurosat --seeds 1")
    assert status == 1
    assert stand_in.finished() == [f"base2new/{part}/eurosat/{BELOW}/seed1" for part in ("test_new", "train_base")]
    assert re.search(r"failed    MPL dtd base K=16 seed 1 \(\d+ s\): exit status 3$", out, re.MULTILINE)
    assert "    | CUDA out of memory, says the stand-in" in out
    assert re.search(r"failed    MPL ucf101 base K=16 seed 1 \(\d+ s\): ended by SIGKILL \(where memory runs out", out)
    assert "left out  MPL dtd new K=16 seed 1: its training failed: MPL dtd base K=16 seed 1" in out
    summary = out[out.index("Not finished because of errors (4):") :]
    log_path = tmp_path / f"output/sweep/base2new/train_base/dtd/{BELOW}/seed1.log"
    assert f"MPL dtd base K=16 seed 1: exit status 3; log: {log_path}" in summary
    assert "2 of 6 runs are finished (0 were there); 4 failed or left out" in summary
    stand_in.behave()
    assert reproduce("base2new --datasets dtd,ucf101,eurosat --seeds 1")[0] == 0
    assert len(stand_in.finished()) == 6
    assert log_path.read_text().count("## ") == 2  # both starts are in the log, and the tail is of the last
    assert log_tail(log_path) == [
        f"Unfinished run: going on in {tmp_path}/output/base2new/train_base/dtd/{BELOW}/seed1",
        *log_tail(log_path, 1),
    ]


def test_a_run_of_other_settings_fails_and_is_left_as_it_is(reproduce: Callable, stand_in: StandIn) -> None:
    assert reproduce("base2new --datasets dtd --seeds 1 --set OPTIM.LR=0.1")[0] == 0
    status, out, _ = reproduce("base2new --datasets dtd --seeds 1,2")
    assert status == 1
    assert "failed    MPL dtd base K=16 seed 1: " in out
    assert "OPTIM.LR 0.1" in out
    assert len(stand_in.finished()) == 4
    status, out, _ = reproduce("base2new --datasets dtd --seeds 1 --plan")
    assert (status, out.count("Refused: MPL dtd")) == (0, 2)


@pytest.mark.skipif(N_CORES < 2, reason="two runs at once need two CPU cores")
def test_runs_at_once_have_cores_or_gpus_of_their_own(reproduce: Callable, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    stand_in.behave(train_base="wait 0.5")
    assert reproduce("base2new --datasets eurosat,dtd --seeds 1 --jobs 2")[0] == 0  # no test begins before its training is finished
    trainings = [row for row in stand_in.calls() if "train_base" in row[0]]
    assert stand_in.folders()[:2] == [row[0] for row in trainings]  # at once
    cores = [row[2] for row in trainings]
    assert not set(cores[0].split(",")) & set(cores[1].split(","))
    assert all(int(row[4]) == len(row[2].split(",")) for row in stand_in.calls())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert reproduce("fewshot --datasets dtd --seeds 1,2 --shots 1 --gpus 4,7")[0] == 0
    assert sorted(row[3] for row in stand_in.calls()[4:]) == ["4", "7"]
    assert len({row[2] for row in stand_in.calls()[4:]}) == 1  # cores are left to the system there


def test_a_sweep_that_is_ended_lets_runs_save_and_goes_on(start: Callable, reproduce: Callable, stand_in: StandIn, until: Callable) -> None:
    words = "base2new --datasets eurosat,dtd --seeds 1"
    stand_in.behave(train_base__dtd="wait 60")
    process = start(words)
    until(lambda: any("dtd" in folder for folder in stand_in.folders()), "the second training began")
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=30)[0]
    assert process.returncode == 130, out
    assert "SIGINT: ending 1 runs" in out
    assert "stopped   MPL dtd base" in out
    assert "2 of 4 runs are finished (0 were there), 2 not made: the same command goes on; 0 failed" in out
    assert stand_in.folders("saved") == [f"base2new/train_base/dtd/{BELOW}/seed1"]
    assert not any(is_alive(row[1]) for row in stand_in.calls())
    stand_in.behave()
    assert reproduce(words)[0] == 0
    assert Counter(Counter(stand_in.folders()).values()) == {1: 3, 2: 1}  # the stopped run alone began twice


def test_a_signal_to_the_launchers_shell_reaches_the_runs(stand_in: StandIn, until: Callable) -> None:
    """From the shell of reproduce.sh to its sweep, from that to the shell of each run's launcher, and to the run."""
    stand_in.behave(dtd="wait 60")
    variables = environment(stand_in.world, PYTHON=str(stand_in.path))
    call = ["bash", str(REPO / "scripts/mpl/reproduce.sh"), "--methods", "MPL", "--datasets", "dtd", "--seeds", "1", "--jobs", "1"]
    shell = subprocess.Popen(call, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(stand_in.calls, "the first training began")
    shell.send_signal(signal.SIGTERM)
    out = shell.communicate(timeout=30)[0]
    assert shell.returncode == 143 and "SIGTERM: ending 1 runs" in out and "Page: " not in out, out
    assert len(stand_in.folders("saved")) == 1
    assert not is_alive(stand_in.calls()[0][1])


def test_a_sweep_that_is_killed_takes_its_runs_along(start: Callable, reproduce: Callable, stand_in: StandIn, until: Callable) -> None:
    words = "base2new --datasets eurosat,dtd --seeds 1"
    stand_in.behave(train_base__dtd="wait 60")
    process = start(words)
    until(lambda: any("dtd" in folder for folder in stand_in.folders()), "the second training began")
    process.kill()
    until(lambda: not any(is_alive(row[1]) for row in stand_in.calls()), "its run ended")
    assert stand_in.folders("saved") == [f"base2new/train_base/dtd/{BELOW}/seed1"]
    assert len(stand_in.finished()) == 2
    stand_in.behave()
    status, out, _ = reproduce(words)
    assert status == 0
    assert "4 of 4 runs are finished (2 were there)" in out


def test_the_second_signal_kills(start: Callable, stand_in: StandIn, until: Callable) -> None:
    stand_in.path.write_text(
        stand_in.path.read_text().replace('note("saved")\n    sys.exit(143)', 'note("saved")')
    )  # saves, and does not end
    stand_in.behave(dtd="wait 60")
    process = start("base2new --datasets dtd --seeds 1")
    until(stand_in.calls, "the training began")
    for signum in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):  # one signal, which a launcher passes on
        process.send_signal(signum)
    until(lambda: stand_in.folders("saved"), "the first signal came to the training")
    time.sleep(0.5)  # more than the sweep takes to pass on what has come
    assert process.poll() is None and is_alive(stand_in.calls()[0][1])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    until(lambda: not is_alive(stand_in.calls()[0][1]), "the training ended")


def test_two_starts_at_once_run_nothing_twice(start: Callable, stand_in: StandIn) -> None:
    stand_in.behave(seed="wait 0.8")
    both = [start("fewshot --datasets eurosat,dtd --shots 1 --seeds 1,2") for _ in range(2)]
    told = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert len(stand_in.finished()) == 4
    assert Counter(stand_in.folders()) == dict.fromkeys(stand_in.finished(), 1)
    assert all("4 of 4 runs are finished" in out for out in told)
    assert "another start of a sweep is making this run; waiting for it" in "".join(told)


def test_a_job_holds_its_lock_and_gives_the_status(tmp_path: Path, until: Callable) -> None:
    alive_read, alive_write = os.pipe()
    lock_path, log_path = tmp_path / "a.lock", tmp_path / "a.log"

    def call(*command: str) -> list[str]:
        return ["--lock", str(lock_path), "--log", str(log_path), "--alive", str(alive_read), "--", *command]

    with subprocess.Popen(
        [sys.executable, "-m", "sweeps.job", *call("sleep", "20")], pass_fds=(alive_read,), start_new_session=True
    ) as process:
        until(log_path.exists, "the job began")
        assert job(call("true")) == LOCKED_STATUS
        os.killpg(process.pid, signal.SIGKILL)
    done = [
        subprocess.run([sys.executable, "-m", "sweeps.job", *call("sh", "-c", c)], pass_fds=(alive_read,)) for c in ("exit 7", "kill -9 $$")
    ]
    assert [d.returncode for d in done] == [7, 137]
    os.close(alive_write)
    os.close(alive_read)
    assert re.match(r"## \S+ sleep 20\n", log_path.read_text())


def test_lengths_of_time_in_words() -> None:
    words = [report.in_words(s) for s in (0.4, 59, 61, 3_599, 3_601, 35_000, 36_001)]
    assert words == ["0 s", "59 s", "1 min", "1 h 00 min", "1 h 00 min", "9 h 43 min", "10.0 h"]
