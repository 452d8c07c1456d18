"""What a sweep says: the plan as a table, progress on a terminal or as plain lines, and what failed."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from .estimate import Estimator
from .plan import Run, count_states
from .runner import Active, Outcome, Report
from .slots import Slot

PIPE_WIDTH = 400  # columns of what is no terminal, so that no cell is cut
STATUS_SECONDS = 60.0  # between the status lines of what is no terminal
COLOURS = {"finished": "green", "failed": "red", "left out": "red", "stopped": "yellow", "refused": "red", "unfinished": "yellow"}
STATE_WORDS = {
    "finished": "finished",
    "unfinished": "to go on",
    "missing": "to run",
    "refused": "refused",
}  # state of a planned run -> how it is told


def make_console(file: TextIO | None = None) -> Console:
    """A console on ``file`` (standard output), wide enough for every cell where that is no terminal."""
    file = file or sys.stdout
    return Console(file=file, width=None if file.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=not file.isatty())


def make_report(console: Console, n_total: int, n_there: int) -> Report:
    """The live report of a terminal, else plain lines."""
    return (LiveReport if console.is_terminal else PlainReport)(console, n_total, n_there)


def in_words(seconds: float) -> str:
    """A length of time, to the second below a minute, to the minute below ten hours, in tenths of hours above."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 36_000:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    return f"{seconds / 3600:.1f} h"


def _plan_table(runs: Sequence[Run], estimator: Estimator, with_folders: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "time", "from", *(["folder"] if with_folders else [])):
        table.add_column(heading, overflow="fold", justify="right" if heading == "time" else "left")
    for run in runs:
        colour = COLOURS.get(run.state, "default")
        estimate = estimator.estimate(run)
        time_cells = ("", "") if run.state == "finished" else (in_words(estimate.seconds), "runs" if estimate.is_measured else "assumption")
        folder = [escape(str(run.run_dir.relative_to(run.top_dir)))] if with_folders else []
        table.add_row(escape(run.title), f"[{colour}]{STATE_WORDS[run.state]}[/]", *time_cells, *folder)
    return table


def print_plan(console: Console, runs: Sequence[Run], estimator: Estimator, n_slots: int, lacking: Sequence[str] = ()) -> None:
    """The runs; which are refused and why; ``lacking``, lines of what is missing for the others; how many there are of each state, and the hours."""
    table = _plan_table(runs, estimator, with_folders=True)
    if console.measure(table).maximum > console.width:  # folders fold over many lines on a narrow terminal, and can be had through a pipe
        table = _plan_table(runs, estimator, with_folders=False)
    console.print(table)
    console.print()
    to_do = [run for run in runs if run.state not in ("finished", "refused")]
    for run in runs:
        if run.state == "refused":
            console.print(f"[red]Refused[/]: {escape(run.title)}: {escape(run.why)}")
    for line in lacking:
        console.print(line, markup=False, soft_wrap=True)
    states = count_states(runs)
    counts = ", ".join(f"{states[state]} {words}" for state, words in STATE_WORDS.items() if state in states)
    seconds = sum(estimator.estimate(run).seconds for run in to_do)
    console.print(f"{len(runs)} runs: {counts}")
    console.print(f"To do: {seconds / 3600:.2f} hours of runs, {seconds / 3600 / n_slots:.2f} hours with {n_slots} at once")
    assumptions = estimator.assumptions(to_do)
    if assumptions:
        console.print(f"Assumed, where no finished run tells: {'; '.join(assumptions)}")


def print_tables_command(console: Console, output_dir: Path, is_grid: bool = False) -> None:
    """The command that shows the tables of what is in ``output_dir``; of a grid, its pivots."""
    what = f"{shlex.quote(str(output_dir / 'grid'))} --pivot" if is_grid else shlex.quote(str(output_dir))
    console.print(f"Tables of what is finished: python tools/results.py {what}", markup=False, soft_wrap=True)


def print_summary(console: Console, outcomes: Sequence[Outcome], n_total: int, n_there: int) -> None:
    """How many runs are finished, and what failed, with its log."""
    failed = [outcome for outcome in outcomes if outcome.status in ("failed", "left out")]
    if failed:
        console.print(f"[red]Not finished because of errors ({len(failed)}):[/]")
    for outcome in failed:
        log = f"; log: {outcome.run.log_path}" if outcome.status == "failed" and outcome.tail else ""
        console.print(f"  {outcome.run.title}: {outcome.why}{log}", markup=False, soft_wrap=True)
    n_made = sum(outcome.status == "finished" for outcome in outcomes)
    n_stopped = sum(outcome.status == "stopped" for outcome in outcomes)
    stopped = f", {n_stopped} not made: the same command goes on" if n_stopped else ""
    console.print(f"{n_there + n_made} of {n_total} runs are finished ({n_there} were there){stopped}; {len(failed)} failed or left out")


class PlainReport:
    """One line an event, and a status line a minute, for files and pipes.

    Args:
        console: where to print.
        n_total: runs of the sweep.
        n_there: those that were finished before.
    """

    def __init__(self, console: Console, n_total: int, n_there: int) -> None:
        self.console = console
        self.n_total, self.n_there, self.n_ended = n_total, n_there, n_there
        self._last_status = time.monotonic()

    def __enter__(self) -> PlainReport:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing is shown meanwhile."""

    def started(self, run: Run, slot: Slot) -> None:
        """A line."""
        self._say(f"started   {run.title} ({slot.name})")

    def ended(self, outcome: Outcome) -> None:
        """A line, with the last lines of its log if it failed."""
        self.n_ended += outcome.status == "finished"
        what = f" ({in_words(outcome.seconds)})" if outcome.seconds else ""
        why = f": {outcome.why}" if outcome.why else ""
        self._say(f"{outcome.status:<9} {outcome.run.title}{what}{why}", COLOURS.get(outcome.status))
        for line in outcome.tail:
            self._say(f"    | {line}")

    def note(self, text: str) -> None:
        """A line."""
        self._say(text)

    def tick(self, n_done: int, running: Sequence[Active], n_failed: int, seconds_left: float) -> None:
        """A status line, if the last one is old."""
        if time.monotonic() - self._last_status >= STATUS_SECONDS:
            self._last_status = time.monotonic()
            self._say(f"{n_done} of {self.n_total} done, {len(running)} running, {n_failed} failed, {in_words(seconds_left)} left")

    def _say(self, text: str, colour: str | None = None) -> None:
        clock = time.strftime("%H:%M:%S")
        self.console.print(f"{clock} [{self.n_ended}/{self.n_total}] {text}", style=colour, markup=False)


class LiveReport(PlainReport):
    """The lines of :class:`PlainReport` above a bar, and one line for each run that is being made."""

    def __init__(self, console: Console, n_total: int, n_there: int) -> None:
        super().__init__(console, n_total, n_there)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[more]}"))
        self.progress = Progress(*columns, console=console, transient=True)
        self._sweep = self.progress.add_task("runs", total=n_total, completed=n_there, more="")
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> LiveReport:
        self.progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.progress.stop()

    def tick(self, n_done: int, running: Sequence[Active], n_failed: int, seconds_left: float) -> None:
        """Move the bar, and keep one line for each run that is being made."""
        more = f"{n_done} of {self.n_total} done, {len(running)} running, {n_failed} failed, {in_words(seconds_left)} left"
        self.progress.update(self._sweep, completed=n_done, more=more)
        titles = {active.run.title: active for active in running}
        for title in set(self._lines) - set(titles):
            self.progress.remove_task(self._lines.pop(title))
        for title, active in titles.items():
            if title not in self._lines:
                self._lines[title] = self.progress.add_task(f"  {escape(title)}", total=active.expected, more="")
            more = f"{in_words(active.seconds)} of about {in_words(active.expected)}"
            self.progress.update(self._lines[title], completed=min(active.seconds, active.expected), more=more)
