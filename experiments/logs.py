"""Averages what the logs of several seeds say, of this project and of CoOp, CoCoOp, MaPLe and PromptSRC."""

import argparse
import math
import re
from pathlib import Path

import numpy as np


def print_means(args: argparse.Namespace) -> None:
    """Prints the figure of each run, their mean and population standard deviation, as Dassl's script does."""
    folders = [args.directory]
    if args.multi_exp:
        folders = sorted(path for path in args.directory.iterdir() if path.is_dir())
    means = [mean for folder in folders if (mean := print_mean(folder, args)) is not None]
    if not means:
        raise ValueError(
            f"no log.txt in {args.directory} or a folder of it has '* {args.keyword}: …' at its end; logs of "
            "tests need --test-log, folders of several experiments --multi-exp"
        )
    if args.multi_exp:
        print(f"Average over {len(means)} experiments:\n* {args.keyword}: {np.mean(means):.2f}%")


def print_mean(directory: Path, args: argparse.Namespace) -> float | None:
    """Prints the figures of one experiment; gives their mean, None if there is none."""
    end = "=> result" if args.test_log else "Finish training"
    line = rf"^\s*\*\s*{re.escape(args.keyword)}:\s*([-+\d.,eE]+|nan)\s*%?\s*$"
    print(f"===\nDirectory: {directory}")
    runs: dict[Path, tuple[float | None, str]] = {}  # folder -> its figure, and a line about it
    for path in sorted([*directory.glob("log.txt*"), *directory.glob("*/log.txt*")]):
        if not re.fullmatch(r"log\.txt(-\d+)*", path.name) or ".old-" in path.parent.name:
            continue  # --force moved the run aside
        runs.setdefault(path.parent, (None, f"no result: {path.parent}"))
        text = path.read_text(encoding="utf-8", errors="replace").partition(end)[2]
        if found := re.findall(line, text, re.MULTILINE):
            figure = float(found[-1].replace(",", ""))  # log.txt-<time> is newer
            runs[path.parent] = figure, f"file: {path}. {args.keyword}: {figure:.2f}%"
    print("".join(f"{text}\n" for _, text in runs.values()), end="")
    figures = [figure for figure, _ in runs.values() if figure is not None]
    if not figures:
        return None
    spread, what = np.std(figures), "population standard deviation"
    if args.ci95:
        spread, what = 1.96 * spread / math.sqrt(len(figures)), "95% confidence interval"
    print(f"Summary of {len(figures)} of {len(runs)} runs (mean +- {what}):")
    print(f"* {args.keyword}: {np.mean(figures):.2f}% +- {spread:.2f}%\n===")
    return float(np.mean(figures))
