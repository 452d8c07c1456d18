"""Killed loading processes: told once, where their pictures are asked for, with no traceback of what was dropped on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

from dassl.data import worker_ends
from dassl.data.loader import EpochLoader
from dassl.data.worker_ends import WORKER_ENDS
from dassl.engine.failures import asides_in_short
from dassl.engine.stopping import StopRequested
from tests.reliability.conftest import Bench

PICTURES = TensorDataset(torch.arange(40))


def started_loader() -> tuple[EpochLoader, Iterator]:
    """A loader with one process, whose first batch has come."""
    loader = EpochLoader(PICTURES, SequentialSampler(PICTURES), 2, is_train=True, num_workers=1)
    batches = iter(loader)
    next(batches)
    return loader, batches


def kill_worker_of(batches: Iterator) -> None:
    """SIGKILL, and time for the system to report it."""
    for worker in batches._workers:
        os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.3)


def test_an_end_is_told_where_its_pictures_are_asked_for() -> None:
    _, first = started_loader()
    _, second = started_loader()
    kill_worker_of(first)  # PyTorch alone would raise here
    next(second)
    with pytest.raises(RuntimeError, match=rf"worker \(pid {first._workers[0].pid}\) is killed by signal: Killed"):
        for _ in range(5):
            next(first)
    assert len(list(second)) == 18
    kill_worker_of(second)
    del first, second  # nor here


def test_a_connection_that_breaks_waits_for_the_end_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of a killed process break before the system reports its end."""

    class Breaking:
        def __init__(self, batches: Iterator, is_killed: bool) -> None:
            self._workers, self._is_killed = batches._workers, is_killed

        def __next__(self) -> None:
            if self._is_killed:
                os.kill(self._workers[0].pid, signal.SIGKILL)
            raise ConnectionResetError(104, "Connection reset by peer")

    _, batches = started_loader()
    monkeypatch.setattr(worker_ends, "PATIENCE", 0.1)
    with pytest.raises(ConnectionResetError):
        WORKER_ENDS.next_of(Breaking(batches, is_killed=False))
    monkeypatch.setattr(worker_ends, "PATIENCE", 30)
    with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
        WORKER_ENDS.next_of(Breaking(batches, is_killed=True))


def test_other_loaders_tell_as_pytorch_does() -> None:
    _, ours = started_loader()
    theirs = iter(DataLoader(PICTURES, 2, num_workers=1))
    next(theirs)
    with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
        kill_worker_of(theirs)
    next(ours)


def test_a_handler_that_chains_to_ours_stays_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    started_loader()
    ours = signal.getsignal(signal.SIGCHLD)
    n_calls = 0

    def in_front(signum: int, frame: object) -> None:
        nonlocal n_calls
        n_calls += 1
        ours(signum, frame)

    signal.signal(signal.SIGCHLD, in_front)
    try:
        _, batches = started_loader()
        assert signal.getsignal(signal.SIGCHLD) is in_front
        kill_worker_of(batches)
        with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
            list(batches)
        assert n_calls
    finally:
        signal.signal(signal.SIGCHLD, ours)


def test_a_new_process_is_not_taken_for_a_dead_one_with_its_number() -> None:
    loader, batches = started_loader()
    pid = batches._workers[0].pid
    WORKER_ENDS._noted.append(RuntimeError(f"DataLoader worker (pid {pid}) is killed by signal: Killed. "))
    with pytest.raises(RuntimeError, match="is killed"):
        next(iter(loader))  # the same process in its next pass
    WORKER_ENDS._watched.discard(batches._batches)  # as one that nobody has seen yet
    assert len(list(loader)) == 20


def test_what_python_drops_is_a_line(capfd: pytest.CaptureFixture) -> None:
    """In a destructor."""

    class Ending:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    before = sys.unraisablehook
    with asides_in_short():
        Ending(RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "))
        Ending(StopRequested(signal.SIGTERM))
    assert sys.unraisablehook is before
    assert capfd.readouterr().err == "Note: the loading process 12 was killed (Killed)\n"


@pytest.mark.parametrize("seconds", [0, 0.02, 0.05, 0.1])
def test_killed_around_a_test_on_val(bench: Bench, tmp_path: Path, seconds: float) -> None:
    """Those of training and of val at once: while val's start, load, end, or have ended."""
    run = bench.start(tmp_path / "run", "DATALOADER.NUM_WORKERS", 1)
    run.wait_for("Evaluate on the *val* set")
    time.sleep(seconds)
    run.send(signal.SIGSTOP)
    for worker in subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split():
        os.kill(int(worker), signal.SIGKILL)
    run.send(signal.SIGCONT)
    status, text = run.wait(), run.text
    assert status == 2, text
    assert text.count("\nError: the loading process") == 1 and "DATALOADER.NUM_WORKERS (now 1)" in text
    assert "Traceback" not in text and "Exception ignored" not in text, text
