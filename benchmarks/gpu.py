"""The table of a GPU: steps of MPL against the published way, and whole runs, one in a process or several."""

import argparse

from benchmarks import runs, steps


def run(args: argparse.Namespace) -> None:
    """Print both."""
    steps.run(args)
    runs.run(args)
