"""Times whole runs, from the command to the result, and shows what is neither steps nor test.

Each run is `bash scripts/mpl/base2new_train.sh DATASET SEED`: Shapes with its small CLIP, and a dataset of
EuroSAT's layout and size (random 64 x 64 JPEG images, 10 classes, 16 shots, 100 steps) with a random CLIP.
Accuracies mean nothing there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.steps import random_clip
from experiments.__main__ import main as experiments
from experiments.facts import REPO

N_CLASSES = 10


def write_eurosat(root: Path, n_test: int) -> None:
    """A folder of EuroSAT's layout with random images, `n_test` test images a class."""
    rng = np.random.default_rng(0)
    split: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    for label in range(N_CLASSES):
        folder = root / f"eurosat/2750/class {label}"
        folder.mkdir(parents=True)
        for part, count in (("train", 16), ("val", 4), ("test", n_test)):
            for i in range(count):
                path = folder / f"{part}{i}.jpg"
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, quality=90)
                split[part].append([f"{folder.name}/{path.name}", label, folder.name])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))


def launch(dataset: str, seed: int, data: Path, output: Path, *pairs: str) -> subprocess.Popen:
    """The launcher of a run, started in a process of its own."""
    command = ["bash", str(REPO / "scripts/mpl/base2new_train.sh"), dataset, str(seed), *pairs]
    environment = os.environ | {"DATA": str(data), "OUTPUT": str(output), "PYTHON": sys.executable}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def finished(process: subprocess.Popen) -> None:
    """Wait for a launcher, whose run must not fail."""
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, process.args)


def parts(output: Path, total: float) -> dict[str, Any]:
    """Seconds of the run in `output`: total, in steps, in the test, the rest, and waiting for batches."""
    (result_path,) = output.rglob("result.json")
    test_seconds = json.loads(result_path.read_text())["test_seconds"]
    lines = [json.loads(line) for line in (result_path.parent / "metrics.jsonl").read_text().splitlines()]
    waiting = sum(line["data_time"] for line in lines)
    computing = sum(line["batch_time"] for line in lines) - waiting
    return {
        "steps": len(lines),
        "total": total,
        "in steps": computing,
        "in the test": test_seconds,
        "the rest": total - computing - test_seconds,
        "of it waiting for batches": waiting,
    }


def run(args: argparse.Namespace) -> None:
    """Make each run in a process of its own, and then again as the second of two in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.runs:
            folder, pairs = Path(scratch) / name, ["TRAIN.PRINT_FREQ", "1", *args.pairs]
            data = REPO / "data"
            if name == "eurosat":
                data = folder / "data"
                write_eurosat(data, args.test_images // N_CLASSES)
                torch.save(random_clip(args.backbone, "cpu").state_dict(), folder / "random.pt")
                pairs += ["MODEL.BACKBONE.NAME", str(folder / "random.pt")]
            for turn in ("in a process of its own", "first in this process", "second in this process"):
                start, output = time.perf_counter(), folder / turn
                if turn == "in a process of its own":
                    finished(launch(name, 1, data, output, *pairs))
                else:
                    os.environ |= {"DATA": str(data), "OUTPUT": str(output)}
                    with contextlib.redirect_stdout(io.StringIO()):
                        status = experiments(["base2new_train", name, "1", *pairs, "--method", "MPL"])
                    if status:
                        raise RuntimeError(f"the run of {name} in this process failed")
                row = parts(output, time.perf_counter() - start)
                cells = [f"{k} {v:.1f} s" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()]
                print(f"{name}, {turn}: {', '.join(cells)}", flush=True)
