"""Averages what the logs of several seeds say, of this project and of CoOp, CoCoOp, MaPLe and PromptSRC."""

import argparse
import math
import re
import statistics
import sys
from pathlib import Path


def print_means(args: argparse.Namespace) -> None:
    """Prints the figure of each run, their mean and population standard deviation, as Dassl's script does."""
    end_line = "=> result" if args.test_log else "Finish training"
    if not args.multi_exp:
        print_mean(args.directory, args.keyword, end_line, args.ci95)
        return
    means = []
    for folder in sorted(path for path in args.directory.iterdir() if path.is_dir()):
        try:
            means.append(print_mean(folder, args.keyword, end_line, args.ci95))
        except (FileNotFoundError, ValueError) as error:
            print(f"left out: {error}", file=sys.stderr)
    if not means:
        raise ValueError(f"no log with a result is at {args.directory}/<experiment>/<seed>/log.txt")
    print(f"Average over {len(means)} experiments:\n* {args.keyword}: {statistics.mean(means):.2f}%")


def print_mean(directory: Path, keyword: str, end_line: str, ci95: bool) -> float:
    """Prints the figures of one experiment; gives their mean."""
    folders = sorted({path.parent for path in directory.glob("*/log.txt*")})
    if logs_in(directory):
        folders = [directory]
    if not folders:
        raise FileNotFoundError(f"no log.txt in {directory} or a folder of it (--multi-exp looks one deeper)")
    print(f"===\nDirectory: {directory}")
    values = []
    for folder in folders:
        found = {path: figures_in(path, keyword, end_line) for path in logs_in(folder)}
        path = next((path for path, figures in found.items() if figures), None)
        if path:
            values.append(found[path][-1])
            print(f"file: {path}. {keyword}: {values[-1]:.2f}%")
        else:
            print(f"no result: {folder}; it is not in the mean")
    if not values:
        hint = "logs of tests need --test-log"
        raise ValueError(f"no log in {directory} has '* {keyword}: …' after '{end_line}'; {hint}")
    if any(map(math.isnan, values)):
        raise ValueError(f"{directory}: {keyword} of a run is nan, so the mean would be wrong; move it away")
    spread, what = statistics.pstdev(values), "population standard deviation"
    if ci95:
        spread, what = 1.96 * spread / math.sqrt(len(values)), "95% confidence interval"
    print(f"Summary of {len(values)} of {len(folders)} runs (mean +- {what}):")
    print(f"* {keyword}: {statistics.mean(values):.2f}% +- {spread:.2f}%\n===")
    return statistics.mean(values)


def logs_in(folder: Path) -> list[Path]:
    """The logs of a run, newest first: a run that was started again left log.txt-<time>."""
    stamped = [path for path in folder.glob("log.txt-*") if re.fullmatch(r"log\.txt(-\d+)+", path.name)]
    return sorted(stamped, reverse=True) + list(folder.glob("log.txt"))


def figures_in(path: Path, keyword: str, end_line: str) -> list[float]:
    """The figures of `* <keyword>: 93.2%` after `end_line`."""
    _, _, text = path.read_text(encoding="utf-8", errors="replace").partition(end_line)
    found = re.findall(rf"^\s*\*\s*{re.escape(keyword)}:\s*([-+\d.,eE]+|nan)\s*%?\s*$", text, re.MULTILINE)
    return [float(value.replace(",", "")) for value in found]
