#!/usr/bin/env python3
"""Say how much of each package the tests ran:  python tools/check_coverage.py .coverage.json [--least PERCENT]

The file is what ``pytest --cov --cov-report=json:.coverage.json`` writes. Exit status 1 where a package's lines or branches are below ``--least``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

LEAST = 90.0  # percent of the lines, and of the branches; our choice
KINDS = {"lines": ("covered_lines", "num_statements"), "branches": ("covered_branches", "num_branches")}


def shares(report: dict) -> dict[str, dict[str, float]]:
    """Percent of the lines and of the branches that ran, for each top-level package of coverage's JSON report."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path, file in report["files"].items():
        for key in (key for keys in KINDS.values() for key in keys):
            counts[Path(path).parts[0]][key] += file["summary"][key]
    return {
        package: {kind: 100.0 * found[ran] / (found[there] or 1) for kind, (ran, there) in KINDS.items()}
        for package, found in sorted(counts.items())
    }


def main(argv: list[str] | None = None) -> int:
    """Print a line a package; 1 if one is below the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--least", type=float, default=LEAST, help="percent (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        found = shares(json.loads(args.report.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as e:
        parser.error(f"{args.report} is no coverage report in JSON ({e}); write one with pytest --cov --cov-report=json:{args.report}")
    too_low = 0
    for package, percent in found.items():
        print(f"{package}: " + ", ".join(f"{value:.1f} % of the {kind}" for kind, value in percent.items()))
        too_low += any(value < args.least for value in percent.values())
    if too_low or not found:
        print(f"at least {args.least:g} % is asked of each", file=sys.stderr)
    return 1 if too_low or not found else 0


if __name__ == "__main__":
    sys.exit(main())
