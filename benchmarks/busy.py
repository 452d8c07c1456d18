"""Times runs on Shapes that share the cores: alone, two at once, beside a loop that keeps each core busy."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.runs import launch, wait_for

LOADS = {"alone": (1, 0), "two at once": (2, 0), "beside a loop on each core": (1, os.cpu_count() or 1)}


def seconds_of(n_runs: int, n_loops: int, output: Path, data: Path, pairs: list[str]) -> float:
    """Seconds until the last of `n_runs` runs is finished."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_loops)]
    start = time.perf_counter()
    try:
        runs = [launch("shapes", str(seed), data, output, *pairs) for seed in range(1, n_runs + 1)]
        for process in runs:
            wait_for(process)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return time.perf_counter() - start


def run(args: argparse.Namespace) -> None:
    """Take the loads in turn, so that a slower moment of the machine meets all, and print their medians."""
    times: dict[str, list[float]] = {name: [] for name in LOADS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seconds_of(1, 0, folder / "first", folder / "data", args.pairs)  # draws the dataset
        for turn in range(args.repeats):
            for name, load in LOADS.items():
                times[name].append(seconds_of(*load, folder / f"{turn} {name}", folder / "data", args.pairs))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.1f} s, {seconds / medians['alone']:.2f} times one run alone")
