"""Averages what the logs of several seeds say, of this project and of CoOp, CoCoOp, MaPLe and PromptSRC."""

import argparse
import math
import re
import sys
from pathlib import Path

import numpy as np


def print_means(args: argparse.Namespace) -> None:
    """Prints the figure of each run, their mean and population standard deviation, as Dassl's script does."""
    if not args.multi_exp:
        print_mean(args.directory, args)
        return
    means = []
    for folder in sorted(path for path in args.directory.iterdir() if path.is_dir()):
        try:
            means.append(print_mean(folder, args))
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not means:
        raise ValueError(f"no log with a result is at {args.directory}/<experiment>/<seed>/log.txt")
    print(f"Average over {len(means)} experiments:\n* {args.keyword}: {np.mean(means):.2f}%")


def print_mean(directory: Path, args: argparse.Namespace) -> float:
    """Prints the figures of one experiment; gives their mean."""
    keyword, end_line = args.keyword, "=> result" if args.test_log else "Finish training"
    is_run = bool(logs_in(directory))
    folders = [directory] if is_run else sorted({path.parent for path in directory.glob("*/log.txt*")})
    print(f"===\nDirectory: {directory}")
    values = []
    for folder in folders:
        found = ((path, figures_in(path, keyword, end_line)) for path in logs_in(folder))
        path, figures = next((pair for pair in found if pair[1]), (folder, []))
        values += figures[-1:]
        print(f"file: {path}. {keyword}: {figures[-1]:.2f}%" if figures else f"no result: {path}")
    if not values:
        raise ValueError(
            f"no log.txt in {directory} or a folder of it has '* {keyword}: …' after '{end_line}'; logs of "
            "tests need --test-log, folders of several experiments --multi-exp"
        )
    spread, what = np.std(values), "population standard deviation"
    if args.ci95:
        spread, what = 1.96 * spread / math.sqrt(len(values)), "95% confidence interval"
    print(f"Summary of {len(values)} of {len(folders)} runs (mean +- {what}):")
    print(f"* {keyword}: {np.mean(values):.2f}% +- {spread:.2f}%\n===")
    return float(np.mean(values))


def logs_in(folder: Path) -> list[Path]:
    """The logs of a run, newest first: a run that was started again left log.txt-<time>."""
    stamped = [path for path in folder.glob("log.txt-*") if re.fullmatch(r"log\.txt(-\d+)+", path.name)]
    return sorted(stamped, reverse=True) + list(folder.glob("log.txt"))


def figures_in(path: Path, keyword: str, end_line: str) -> list[float]:
    """The figures of `* <keyword>: 93.2%` after `end_line`."""
    _, _, text = path.read_text(encoding="utf-8", errors="replace").partition(end_line)
    found = re.findall(rf"^\s*\*\s*{re.escape(keyword)}:\s*([-+\d.,eE]+|nan)\s*%?\s*$", text, re.MULTILINE)
    return [float(value.replace(",", "")) for value in found]
