"""Times whole runs, from the command to the result, and shows what is neither steps nor test.

Each run is `bash scripts/mpl/base2new_train.sh DATASET 1`: Shapes with its small CLIP, and a dataset of
EuroSAT's layout and size (random 64 x 64 JPEG images, 10 classes, 16 shots, 100 steps) with a random CLIP.
Accuracies mean nothing there.
"""

from __future__ import annotations

import argparse
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

from clip import CLIP
from clip.weights import published_models
from experiments.facts import REPO

CLASSES = ["AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture"]
CLASSES += ["PermanentCrop", "Residential", "River", "SeaLake"]


def write_eurosat(root: Path, n_test: int) -> None:
    """A folder of EuroSAT's layout with random images, `n_test` test images a class."""
    rng = np.random.default_rng(0)
    split: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(CLASSES):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for part, count in (("train", 16), ("val", 4), ("test", n_test)):
            for i in range(count):
                path = folder / f"{name}_{part}{i}.jpg"
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, quality=90)
                split[part].append([f"{name}/{path.name}", label, name])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))


def time_run(dataset: str, data: Path, output: Path, pairs: list[str]) -> dict[str, Any]:
    """The seconds of one run, by `parts`."""
    environment = os.environ | {"DATA": str(data), "OUTPUT": str(output), "PYTHON": sys.executable}
    script = str(REPO / "scripts/mpl/base2new_train.sh")
    start = time.perf_counter()
    subprocess.run(
        ["bash", script, dataset, "1", "TRAIN.PRINT_FREQ", "1", *pairs],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return {"run": dataset, **parts(output, time.perf_counter() - start)}


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
    """Make the runs one after the other in a temporary folder and print a line for each."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.runs:
            folder, pairs = Path(scratch) / name, list(args.pairs)
            data = REPO / "data"
            if name == "eurosat":
                data = folder / "data"
                write_eurosat(data, args.test_images)
                torch.manual_seed(0)
                torch.save(CLIP(published_models()[args.backbone].config).state_dict(), folder / "random.pt")
                pairs += ["MODEL.BACKBONE.NAME", str(folder / "random.pt")]
            row = time_run(name, data, folder / "output", pairs)
            print(", ".join(f"{k} {v:.1f} s" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
