"""Times whole runs, two in one process, from the command to the results.

They are on Shapes with its small CLIP, and on a dataset of EuroSAT's layout and size (random 64 x 64 JPEG
images, 10 classes, 16 shots, 100 steps) with a random CLIP. Accuracies mean nothing there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.steps import random_clip
from dassl.record import read_result
from experiments.facts import REPO
from experiments.tables import as_markdown

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


def parts(folder: Path, total: float, in_test: float) -> dict[str, Any]:
    """Steps of the run in `folder`, and its `total` seconds with what of them went where."""
    lines = pd.read_json(folder / "metrics.jsonl", lines=True)
    in_steps = (lines.batch_time - lines.data_time).sum()
    seconds = {
        "total": total,
        "in steps": in_steps,
        "in the test": in_test,
        "the rest": total - in_steps - in_test,
        "of it waiting for batches": lines.data_time.sum(),
    }
    return {"steps": len(lines)} | {name: f"{value:.1f} s" for name, value in seconds.items()}


def run(args: argparse.Namespace) -> None:
    """Make two runs of each dataset in a new process, and print a line for each."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.runs:
            folder, pairs = Path(scratch) / name, ["TRAIN.PRINT_FREQ", "1", *args.pairs]
            data = REPO / "data"
            if name == "eurosat":
                data = folder / "data"
                write_eurosat(data, args.test_images // N_CLASSES)
                torch.save(random_clip(args.backbone, "cpu").state_dict(), folder / "random.pt")
                pairs += ["MODEL.BACKBONE.NAME", str(folder / "random.pt")]
            variables = {"DATA": str(data), "OUTPUT": str(folder / "output"), "PYTHON": sys.executable}
            command = ["bash", str(REPO / "scripts/mpl/base2new_train.sh"), name, "1,2", *pairs]
            start = time.time()
            subprocess.run(command, env=os.environ | variables, stdout=subprocess.DEVNULL, check=True)
            for seed, place in (1, "first in its process"), (2, "second"):
                (result,) = folder.glob(f"output/**/seed{seed}/result.json")
                record = read_result(str(result.parent))
                ended = datetime.fromisoformat(record["ended"]).timestamp()
                row = parts(result.parent, ended - start, record["test_seconds"])
                rows.append({"run": f"{name}, {place}"} | row)
                start = ended
    print(as_markdown(pd.DataFrame(rows)))
