"""The runs behind launcher calls: where each stands and whether it is finished, as the launchers themselves say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .protocols import REPO, Launch, SweepError

SWEEP_FOLDER = "sweep"  # in the output folder: locks of the runs, and what their launchers printed
LAUNCHER_VARIABLES = (
    "CFG",
    "SHOTS",
    "SOURCE",
    "TRAINER",
    "NCTX",
    "CSC",
    "CTP",
    "LAUNCH_PLAN",
)  # what launchers read, and a sweep sets or clears


@dataclass(frozen=True)
class Run:
    """One run and its state when the launcher was asked.

    Attributes:
        launch: the call that makes it.
        state: ``finished``, ``unfinished`` (it would go on), ``missing``, or ``refused`` (its folder holds a run of other settings).
        run_dir: its folder.
        train_dir: folder of the training that it tests, or None.
        config_path: its config, from the clone's folder.
        why: why it is refused, or empty.
        output_dir: OUTPUT of its launcher: the sweep's, or the grid point's below it.
        top_dir: the sweep's output folder.
        point: name of its grid point, or empty.
    """

    launch: Launch
    state: str
    run_dir: Path
    train_dir: Path | None
    config_path: str
    why: str
    output_dir: Path
    top_dir: Path
    point: str = ""

    @property
    def title(self) -> str:
        """A few words that tell the run."""
        return f"{self.launch.title} [{self.point}]" if self.point else self.launch.title

    @property
    def command(self) -> list[str]:
        """The launcher's call."""
        return ["bash", str(REPO / "scripts" / self.launch.script), *self.launch.arguments]

    @property
    def log_path(self) -> Path:
        """What its launcher printed, of every start."""
        return self._beside(".log")

    @property
    def lock_path(self) -> Path:
        """The lock that whoever runs it holds."""
        return self._beside(".lock")

    def _beside(self, suffix: str) -> Path:
        below = self.run_dir.relative_to(self.top_dir)
        return self.top_dir / SWEEP_FOLDER / below.parent / f"{below.name}{suffix}"


def launcher_environment(launch: Launch, root: Path, output_dir: Path) -> dict[str, str]:
    """The environment of a launcher: the caller's, with DATA and OUTPUT, this Python unless PYTHON is set, and the call's own variables."""
    kept = {key: value for key, value in os.environ.items() if key not in LAUNCHER_VARIABLES}
    python = os.environ.get("PYTHON") or sys.executable
    if os.sep in python:
        python = os.path.abspath(python)  # a launcher may be started from another folder than the sweep
    return kept | {"PYTHON": python, "DATA": str(root), "OUTPUT": str(output_dir)} | dict(launch.variables)


def plan_runs(calls: Sequence[Launch], root: Path, top_dir: Path, output_dir: Path | None = None, point: str = "") -> list[Run]:
    """Ask the launcher of each call which run it would make.

    Args:
        calls: of one or more protocols, a training before its tests.
        root: folder of the datasets, absolute.
        top_dir: the sweep's output folder, absolute.
        output_dir: of these runs, if it is another, below ``top_dir``.
        point: name of the grid point.

    Returns:
        The runs in the order of the calls, each once.

    Raises:
        SweepError: a launcher refused the call, with its message.
    """
    ask = partial(_ask, root=root, top_dir=top_dir, output_dir=output_dir or top_dir, point=point)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return unique(pool.map(ask, calls))


def unique(runs: Iterable[Run]) -> list[Run]:
    """Each run's folder once, in the order in which they first come."""
    first: dict[Path, Run] = {}
    for run in runs:
        first.setdefault(run.run_dir, run)
    return list(first.values())


def _ask(launch: Launch, root: Path, top_dir: Path, output_dir: Path, point: str) -> Run:
    variables = launcher_environment(launch, root, output_dir) | {"LAUNCH_PLAN": "1"}
    call = ["bash", str(REPO / "scripts" / launch.script), *launch.arguments]
    done = subprocess.run(call, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 1:
        told = done.stderr.strip().removeprefix("Error: ") or done.stdout.strip()
        raise SweepError(f"{launch.title} cannot be run: {told}")
    state, run_dir, train_dir, config_path, why = lines[0].split("\t")
    tested = None if train_dir == "-" else Path(train_dir)
    return Run(launch, state, Path(run_dir), tested, config_path, why, output_dir, top_dir, point)


def count_states(runs: Iterable[Run]) -> Mapping[str, int]:
    """State -> number of runs."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.state] = counts.get(run.state, 0) + 1
    return counts
