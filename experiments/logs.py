"""Averages what the logs of several seeds say, of this project and of CoOp, CoCoOp, MaPLe and PromptSRC."""

from __future__ import annotations

import math
import re
import statistics
import sys
from pathlib import Path


def print_means(directory: Path, keyword: str, test_log: bool, multi_exp: bool, ci95: bool) -> None:
    """Print the figure of each run, their mean and population standard deviation, as Dassl's script does.

    Args:
        directory: holds a folder a seed; with `multi_exp` several such folders, whose means are averaged too.
        keyword: the word of the log's line `* accuracy: 93.2%`.
        test_log: read logs of tests, which have no line `Finish training`.
        ci95: print half the 95 % interval of the mean in place of the standard deviation.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: no log has the figure, or it is not a number.
    """
    end_line = "=> result" if test_log else "Finish training"
    if not multi_exp:
        print_mean(directory, keyword, end_line, ci95)
        return
    means = []
    for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
        try:
            means.append(print_mean(folder, keyword, end_line, ci95))
        except (FileNotFoundError, ValueError) as error:
            print(f"left out: {error}", file=sys.stderr)
    if not means:
        raise ValueError(f"no log with a result is at {directory}/<experiment>/<seed>/log.txt")
    print(f"Average over {len(means)} experiments:\n* {keyword}: {statistics.mean(means):.2f}%")


def print_mean(directory: Path, keyword: str, end_line: str, ci95: bool) -> float:
    """Print the figures of one experiment; gives their mean."""
    folders = sorted({path.parent for path in directory.glob("*/log.txt*")}, key=by_number)
    if logs_in(directory):
        folders = [directory]
    if not folders:
        raise FileNotFoundError(f"no log.txt in {directory} or a folder of it (--multi-exp looks one deeper)")
    print(f"===\nDirectory: {directory}")
    values = []
    for folder in folders:
        for path in logs_in(folder):
            value = read_log(path, keyword, end_line)
            if value is not None:
                print(f"file: {path}. {keyword}: {value:.2f}%")
                values.append(value)
                break
        else:
            print(f"no result: {folder}; it is not in the mean")
    if not values:
        hint = "logs of tests need --test-log"
        raise ValueError(f"no log in {directory} has '* {keyword}: …' after '{end_line}'; {hint}")
    if any(map(math.isnan, values)):
        raise ValueError(
            f"{directory}: {keyword} of a run is nan, so that the mean would be wrong; move it away"
        )
    spread, what = statistics.pstdev(values), "population standard deviation"
    if ci95:
        spread, what = 1.96 * spread / math.sqrt(len(values)), "95% confidence interval"
    print(f"Summary of {len(values)} of {len(folders)} runs (mean +- {what}):")
    print(f"* {keyword}: {statistics.mean(values):.2f}% +- {spread:.2f}%\n===")
    return statistics.mean(values)


def logs_in(folder: Path) -> list[Path]:
    """The logs of a run, newest first: a run that was started again left log.txt-<time>."""
    stamped = [path for path in folder.glob("log.txt-*") if re.fullmatch(r"log\.txt(-\d+)+", path.name)]
    first = [path for path in [folder / "log.txt"] if path.is_file()]
    return sorted(stamped, key=by_number, reverse=True) + first


def by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key with numbers as numbers: seed2 before seed10."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", path.name)]


def read_log(path: Path, keyword: str, end_line: str) -> float | None:
    """The last figure of `* <keyword>: 93.2%` after `end_line`; None if there is none."""
    _, _, text = path.read_text(encoding="utf-8", errors="replace").partition(end_line)
    found = re.findall(rf"^\s*\*\s*{re.escape(keyword)}:\s*([-+\d.,eE]+|nan)\s*%?\s*$", text, re.MULTILINE)
    return float(found[-1].replace(",", "")) if found else None
