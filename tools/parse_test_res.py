#!/usr/bin/env python3
"""Print the mean over seeds of what logs say; reads the logs of this project and of CoOp, CoCoOp, MaPLe and PromptSRC.

    python tools/parse_test_res.py output/base2new/train_base/shapes/shots_16/MPL/tiny_shapes
    python tools/parse_test_res.py output/base2new/test_new/shapes/shots_16/MPL/tiny_shapes --test-log
    python tools/parse_test_res.py output/crossdataset --multi-exp --ci95

DIR holds a folder for each seed with log.txt in it. Logs print one digit behind the point: tools/results.py reads result.json, with all digits.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reporting.logs import END_OF_TEST, END_OF_TRAINING, Summary, read_experiment


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder with a folder for each seed")
    parser.add_argument(
        "--test-log",
        action="store_true",
        help=f"logs of --eval-only, whose results follow '{END_OF_TEST}' with no '{END_OF_TRAINING}' before",
    )
    parser.add_argument("--multi-exp", action="store_true", help="DIR holds several such folders; their means are averaged as well")
    parser.add_argument("--ci95", action="store_true", help="the 95 %% interval of the mean in place of the standard deviation")
    parser.add_argument(
        "--keyword", default="accuracy", help="accuracy (default), error, macro_f1, …: the word of the line '* accuracy: 93.2%%'"
    )
    return parser


def show(summary: Summary, keyword: str, ci95: bool) -> None:
    """Print the figure of each run and their mean."""
    print(f"===\nDirectory: {summary.directory}")
    for result in summary.results:
        print(f"file: {result.path}. {keyword}: {result.value:.2f}%{f' ({result.note})' if result.note else ''}")
    for run_dir in summary.without:
        print(f"no result: {run_dir} (unfinished, or of another kind); it is not in the mean")
    n_runs = len(summary.results) + len(summary.without)
    what = "95% confidence interval" if ci95 else "population standard deviation"
    runs = f"{len(summary.results)} of {n_runs} runs" if summary.without else f"{n_runs} run{'s' * (n_runs > 1)}"
    print(f"Summary of {runs} (mean +- {what}):")
    print(f"* {keyword}: {summary.mean:.2f}% +- {summary.spread(ci95):.2f}%\n===")


def parse(args: argparse.Namespace) -> None:
    """Read and print what the arguments ask for.

    Raises:
        FileNotFoundError, ValueError: as `read_experiment`, with --multi-exp if it holds for every folder.
    """
    end_line = END_OF_TEST if args.test_log else END_OF_TRAINING
    if not args.multi_exp:
        show(read_experiment(args.directory, args.keyword, end_line), args.keyword, args.ci95)
        return
    if not args.directory.is_dir():
        raise FileNotFoundError(f"{args.directory} is no folder; give the one whose folders hold seed1, seed2, …")
    summaries = []
    for directory in sorted(d for d in args.directory.iterdir() if d.is_dir()):
        try:
            summaries.append(read_experiment(directory, args.keyword, end_line))
        except (FileNotFoundError, ValueError) as e:
            print(f"left out: {e}", file=sys.stderr)
            continue
        show(summaries[-1], args.keyword, args.ci95)
    if not summaries:
        raise ValueError(f"no folder in {args.directory} holds runs with results (their logs must be in DIR/<experiment>/<seed>/log.txt)")
    print(f"Average over {len(summaries)} experiments:\n* {args.keyword}: {statistics.mean(s.mean for s in summaries):.2f}%")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 where nothing can be read."""
    try:
        parse(build_parser().parse_args(argv))
    except (OSError, ValueError) as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
