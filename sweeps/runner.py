"""Runs what is missing of a sweep, one run a slot at a time, until all is done or the sweep is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from .estimate import Estimator
from .job import LOCKED_STATUS, log_tail
from .plan import Run, launcher_environment
from .protocols import REPO
from .slots import Slot

POLL_SECONDS = 0.2
LOCK_RETRY_SECONDS = 2.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PASSED_ON = signal.SIGUSR1  # what a launcher sends when its shell got one of these, which the sweep may have got as well


@dataclass(frozen=True)
class Outcome:
    """How a run ended in this sweep.

    Attributes:
        run: the run.
        status: ``finished``, ``failed``, ``left out`` (its training failed) or ``stopped`` (with the sweep).
        seconds: from its start; 0 if it was not started.
        why: what went wrong, one line; empty if nothing did.
        tail: last lines of its log, if it failed.
    """

    run: Run
    status: str
    seconds: float = 0.0
    why: str = ""
    tail: tuple[str, ...] = ()


class Report(Protocol):
    """What a sweep tells as it goes on; a context, which ends what it shows meanwhile."""

    def __enter__(self) -> Report:
        """Begin."""

    def __exit__(self, *raised: object) -> None:
        """End."""

    def started(self, run: Run, slot: Slot) -> None:
        """A run has been started."""

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, or cannot be started."""

    def note(self, text: str) -> None:
        """Something else worth a line."""

    def tick(self, n_done: int, running: Sequence[Active], n_failed: int, seconds_left: float) -> None:
        """How far the sweep is; called several times a second."""


@dataclass
class Active:
    """A run that is being made, and the seconds that it is expected to take."""

    run: Run
    slot: Slot
    process: subprocess.Popen[bytes]
    expected: float
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.since


class Sweep:
    """Makes the runs that are not finished.

    Args:
        runs: all runs, in the order in which they are to be made; a test waits for its training.
        slots: where, one run each.
        root: folder of the datasets, absolute.
        estimator: for the time left.
        report: is told what happens.
    """

    def __init__(self, runs: Sequence[Run], slots: Sequence[Slot], root: Path, estimator: Estimator, report: Report) -> None:
        self.root, self.estimator, self.report = root, estimator, report
        self.slots = list(slots)
        self.n_total = len(runs)
        self.n_there = sum(run.state == "finished" for run in runs)
        self.waiting = [run for run in runs if run.state != "finished"]
        self.active: list[Active] = []
        self.outcomes: dict[Path, Outcome] = {}  # of the runs that this sweep dealt with, by folder
        self.stop_signal: signal.Signals | None = None
        self._n_signals = self._n_direct = self._n_passed_on = 0
        self._retry_at: dict[Path, float] = {}  # runs that are being made elsewhere -> when to look again
        self._alive_read = self._alive_write = -1

    def run(self) -> list[Outcome]:
        """Make the runs; gives the outcome of each that was not finished before. Restores the signal handlers that it found."""
        self._alive_read, self._alive_write = os.pipe()  # the write end closes with this process, however it ends
        try:
            with self._signals_noted():
                self._leave_out_refused()
                while self.active or (self.waiting and self.stop_signal is None):
                    self._pass_signals_on()
                    self._collect()
                    if self.stop_signal is None:
                        self._start_ready()
                    self._tick()
                    if self.active or self.waiting:
                        time.sleep(POLL_SECONDS)
        finally:
            os.close(self._alive_write)
            os.close(self._alive_read)
        for run in self.waiting:
            self.outcomes[run.run_dir] = Outcome(run, "stopped")
        return list(self.outcomes.values())

    @contextlib.contextmanager
    def _signals_noted(self) -> Iterator[None]:
        def note(number: int, frame: object) -> None:
            self._n_direct += number != PASSED_ON
            self._n_signals = max(self._n_direct, 1)
            self.stop_signal = self.stop_signal or (signal.SIGTERM if number == PASSED_ON else signal.Signals(number))

        before = {number: signal.signal(number, note) for number in (*ENDING_SIGNALS, PASSED_ON)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_signals_on(self) -> None:
        """The first signal ends each run with SIGTERM, so that it can save its state; the second kills."""
        if self._n_passed_on >= min(self._n_signals, 2):
            return
        self._n_passed_on += 1
        if self._n_passed_on == 1 and self.stop_signal is not None:
            self.report.note(f"{self.stop_signal.name}: ending {len(self.active)} runs; a second one kills them. The same command goes on.")
        for active in self.active:
            with contextlib.suppress(ProcessLookupError):
                if self._n_passed_on == 1:
                    active.process.send_signal(signal.SIGTERM)
                else:
                    os.killpg(active.process.pid, signal.SIGKILL)

    def _leave_out_refused(self) -> None:
        for run in [run for run in self.waiting if run.state == "refused"]:
            self.waiting.remove(run)
            self._end(Outcome(run, "failed", why=run.why))

    def _start_ready(self) -> None:
        for run in list(self.waiting):
            free = [slot for slot in self.slots if slot not in {active.slot for active in self.active}]
            if not free:
                return
            training = self.outcomes.get(run.train_dir) if run.train_dir else None
            if training is not None and training.status in ("failed", "left out"):
                self.waiting.remove(run)
                self._end(Outcome(run, "left out", why=f"its training failed: {training.run.title}"))
            elif not self._is_waited_for(run.train_dir) and time.monotonic() >= self._retry_at.get(run.run_dir, 0.0):
                self._start(run, free[0])

    def _is_waited_for(self, train_dir: Path | None) -> bool:
        return train_dir is not None and any(r.run_dir == train_dir for r in (*self.waiting, *(a.run for a in self.active)))

    def _start(self, run: Run, slot: Slot) -> None:
        run.lock_path.parent.mkdir(parents=True, exist_ok=True)
        if _is_locked(run.lock_path):
            self._look_again_later(run)
            return
        call = [sys.executable, str(REPO / "sweeps" / "job.py"), "--lock", str(run.lock_path), "--log", str(run.log_path)]
        call += ["--alive", str(self._alive_read), *(["--cores", ",".join(map(str, slot.cores))] if slot.cores else [])]
        process = subprocess.Popen(
            [*call, "--", *run.command],  # from the folder of the sweep, from which relative paths of --set are read
            env=launcher_environment(run.launch, self.root, run.output_dir) | slot.environment(),
            stdin=subprocess.DEVNULL,
            pass_fds=(self._alive_read,),
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which ends its runs in order
        )
        self.waiting.remove(run)
        self.active.append(Active(run, slot, process, self.estimator.estimate(run).seconds))
        self.report.started(run, slot)

    def _look_again_later(self, run: Run) -> None:
        if run.run_dir not in self._retry_at:
            self.report.note(f"{run.title}: another start of a sweep is making this run; waiting for it")
        self._retry_at[run.run_dir] = time.monotonic() + LOCK_RETRY_SECONDS

    def _collect(self) -> None:
        for active in list(self.active):
            status = active.process.poll()
            if status is None:
                continue
            self.active.remove(active)
            if status < 0:  # the process around the run was killed, so that what it had started may be left
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(active.process.pid, signal.SIGKILL)
            if status == LOCKED_STATUS:
                self.waiting.insert(0, active.run)
                self._look_again_later(active.run)
            elif status == 0:
                self.estimator.learn(active.run)
                self._end(Outcome(active.run, "finished", active.seconds))
            elif self.stop_signal is not None:
                self._end(Outcome(active.run, "stopped", active.seconds))
            else:
                self._end(Outcome(active.run, "failed", active.seconds, _told(status), tuple(log_tail(active.run.log_path))))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run.run_dir] = outcome
        self.report.ended(outcome)

    def _tick(self) -> None:
        statuses = [outcome.status for outcome in self.outcomes.values()]
        left = sum(self.estimator.estimate(run).seconds for run in self.waiting)
        left += sum(max(0.0, active.expected - active.seconds) for active in self.active)
        n_failed = sum(status in ("failed", "left out") for status in statuses)
        self.report.tick(self.n_there + statuses.count("finished"), self.active, n_failed, left / len(self.slots))


def _is_locked(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _told(status: int) -> str:
    """What an exit status says; 128 + N and -N stand for signal N."""
    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit status {status}"
    hint = " (where memory runs out, the system ends processes with it)" if number == signal.SIGKILL else ""
    return f"ended by {name}{hint}"
