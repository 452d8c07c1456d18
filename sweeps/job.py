"""The process around one run: it holds the run's lock and cores, and ends the run properly when the sweep is gone.

    python sweeps/job.py --lock FILE --log FILE --alive FD [--cores 0,1] -- COMMAND …

It leads a process group of its own, in which the launcher and all that it starts stay. It gives the command's exit status, 128 + N for a command that signal N
ended, or 75 if another process holds the lock.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

LOCKED_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again later
GRACE_SECONDS = 60.0  # our choice: what a run may take to save its state when it is told to end
START_MARK = "##"  # begins the line with which each start is noted in the log


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command under its lock."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--alive", type=int, required=True, help="file descriptor of a pipe that closes when the sweep is gone")
    parser.add_argument("--cores", default="", help="CPU cores to which the run is held")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args(argv)
    lock = FileLock(args.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return LOCKED_STATUS
    with lock:
        if args.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, [int(core) for core in args.cores.split(",")])
        return Supervisor(args.alive).run(args.command, args.log)


class Supervisor:
    """Runs one command to its end, or to that of the sweep.

    Args:
        alive_fd: read end of a pipe whose other end the sweep alone holds.
        grace: seconds from SIGTERM to SIGKILL.
    """

    def __init__(self, alive_fd: int, grace: float = GRACE_SECONDS) -> None:
        self.alive_fd = alive_fd
        self.grace = grace
        self.told_to_end = self.passed_on = False
        self.kill_at: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, frame: object) -> None:
        self.told_to_end = True

    def run(self, command: Sequence[str], log_path: Path) -> int:
        """Run ``command``, its output appended to ``log_path``; gives its status when it and all that it started have ended."""
        done_read, done_write = os.pipe()  # closes when the last process that inherited it ends
        with log_path.open("ab") as log:
            log.write(f"{START_MARK} {datetime.datetime.now().astimezone().isoformat(timespec='seconds')} {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=(done_write,))
        os.close(done_write)
        watched = [done_read, self.alive_fd]
        while True:
            ready = select.select(watched, [], [], 0.2)[0]
            if done_read in ready:
                break
            if self.alive_fd in ready:  # nothing is ever written to it: the sweep is gone
                watched.remove(self.alive_fd)
                self.told_to_end = True
            self._end_in_time(process.poll() is not None)
        status = process.wait()
        return status if status >= 0 else 128 - status

    def _end_in_time(self, command_ended: bool) -> None:
        """Pass the sweep's end on to the group, with SIGTERM first; a command that ended before its children gives them the same time."""
        if self.told_to_end and not self.passed_on:
            self.passed_on = True
            os.killpg(os.getpgrp(), signal.SIGTERM)
        if self.kill_at is None and (self.told_to_end or command_ended):
            self.kill_at = time.monotonic() + self.grace
        elif self.kill_at is not None and time.monotonic() > self.kill_at:
            os.killpg(os.getpgrp(), signal.SIGKILL)


def log_tail(path: Path, n_lines: int = 15) -> list[str]:
    """The last lines of the last start in a log; empty if there is none."""
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith(f"{START_MARK} ")]
        return lines[(starts[-1] + 1) if starts else 0 :][-n_lines:]
    return []


if __name__ == "__main__":
    sys.exit(main())
