"""Results out of log files, of this project and of the published code bases, for runs that left no `result.json`.

A run's figures stand in a block that begins with `=> result`; a training prints it after `Finish training`. A run that was started again leaves
`log.txt-<time>` beside `log.txt`.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

END_OF_TRAINING, END_OF_TEST = "Finish training", "=> result"
LOG_NAME = "log.txt"
NORMAL_95 = 1.96  # standard errors of the mean on each side that hold 95 % of a normal distribution


@dataclass(frozen=True)
class LogResult:
    """What a run's log says.

    Args:
        path: the log that was read.
        value: the figure asked for.
        note: that a newer log has none, or "".
    """

    path: Path
    value: float
    note: str = ""


def read_log(path: Path, keyword: str, end_line: str) -> float | None:
    """The last figure of a line `* <keyword>: 93.2%` after the first line that holds `end_line`; None if there is none.

    A log that was appended to holds several results, of which the last counts.
    """
    line_of = re.compile(rf"^\s*\*\s*{re.escape(keyword)}:\s*([-+]?[\d,]*\.?\d+(?:[eE][-+]?\d+)?|nan)\s*%?\s*$")
    value, has_ended = None, False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            has_ended = has_ended or end_line in line
            found = line_of.match(line) if has_ended else None
            if found:
                value = float(found[1].replace(",", ""))
    return value


def logs_in(run_dir: Path) -> list[Path]:
    """The logs of a run, newest first: those with a time in their name by it, and `log.txt`, the first start's, last."""
    rerun = re.compile(rf"{re.escape(LOG_NAME)}-\d{{4}}-\d\d-\d\d-\d\d-\d\d-\d\d(-\d+)?$")
    stamped = sorted((path for path in run_dir.glob(f"{LOG_NAME}-*") if rerun.search(path.name)), key=_start_of, reverse=True)
    first = run_dir / LOG_NAME
    return [*stamped, *([first] if first.is_file() else [])]


def _start_of(path: Path) -> list[int]:
    """The numbers of a log's name: the time, and the count of logs within one second, which has no leading zeros."""
    return [int(part) for part in re.findall(r"\d+", path.name)]


def read_run_logs(run_dir: Path, keyword: str, end_line: str) -> LogResult | None:
    """The result of the newest log of a run that has one; None if none has.

    Raises:
        ValueError: the figure is not a number.
    """
    logs = logs_in(run_dir)
    for path in logs:
        value = read_log(path, keyword, end_line)
        if value is not None:
            if math.isnan(value):
                raise ValueError(f"{path}: {keyword} is nan; a mean over it would be wrong. Look at that run, or move its folder away")
            note = "" if path == logs[0] else f"{logs[0].name} is newer but has no result"
            return LogResult(path, value, note)
    return None


@dataclass(frozen=True)
class Summary:
    """The runs of one experiment: a folder with a folder for each seed.

    Args:
        directory: the experiment's folder.
        results: one for each run that has one.
        without: runs that have logs but no result.
    """

    directory: Path
    results: Sequence[LogResult]
    without: Sequence[Path]

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return statistics.mean(result.value for result in self.results)

    def spread(self, ci95: bool = False) -> float:
        """The population standard deviation, or half the width of the 95 % interval of the mean, as the script of Dassl prints them.

        The interval is 1.96 s / sqrt(n) with the population standard deviation s; `tools/results.py` gives the sample standard deviation.
        """
        std = statistics.pstdev(result.value for result in self.results)
        return NORMAL_95 * std / math.sqrt(len(self.results)) if ci95 else std


def read_experiment(directory: Path, keyword: str, end_line: str) -> Summary:
    """Every run in `directory`: its folders that hold logs, or the folder itself if it holds one.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: no log has a result, or a figure is not a number.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is no folder; give the one that holds seed1, seed2, …")
    run_dirs = [directory] if logs_in(directory) else sorted((d for d in directory.iterdir() if d.is_dir() and logs_in(d)), key=_natural)
    if not run_dirs:
        hint = "; its folders hold experiments of several seeds: add --multi-exp" if any(directory.glob(f"*/*/{LOG_NAME}*")) else ""
        raise FileNotFoundError(f"no {LOG_NAME} in {directory} or in a folder of it{hint}")
    results, without = [], []
    for run_dir in run_dirs:
        result = read_run_logs(run_dir, keyword, end_line)
        if result is None:
            without.append(run_dir)
        else:
            results.append(result)
    if not results:
        hint = "; logs of a test alone need --test-log" if end_line == END_OF_TRAINING else ""
        raise ValueError(
            f"no log in {directory} has a line '* {keyword}: …' after '{end_line}'{hint}; other keywords of the block: accuracy, error, macro_f1"
        )
    return Summary(directory, results, without)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Order by names with their numbers as numbers: seed2 before seed10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name) if part]
