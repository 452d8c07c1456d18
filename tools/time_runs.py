#!/usr/bin/env python3
"""Time whole runs, from the command to its result, and say what share of it is neither training steps nor the test.

    python tools/time_runs.py                               # Shapes, and a set of EuroSAT's size with random pictures and a random ViT-B/16
    python tools/time_runs.py --runs eurosat --test-pictures 840      # as many test pictures as the base half of EuroSAT has

Each run is `bash scripts/mpl/base2new_train.sh DATASET 1` in a new folder, with a line a step (TRAIN.PRINT_FREQ 1). The random set has EuroSAT's layout, its 10
classes of 64 x 64 JPEG, and 16 training pictures a class, so that the base half makes 20 steps an epoch, 100 in all. Its accuracy means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clip.model import CLIP
from clip.weights import published_models
from dassl.utils.files import write_json
from datasets.eurosat import EuroSAT
from tools.arguments import names, new_file, number
from tools.benchmark import machine_of

REPO = Path(__file__).resolve().parents[1]
RUNS = ("shapes", "eurosat")
OWN_KEYS = ("TRAIN.PRINT_FREQ", "TEST.NO_TEST")  # settings that the figures rest on
N_SHOTS, N_VAL, SIDE = 16, 4, 64  # pictures a class; pixels of EuroSAT's pictures (arXiv 1709.00029)


def write_eurosat_size(root: Path, n_test: int) -> None:
    """A folder of EuroSAT's layout with random pictures, ``n_test`` test pictures a class."""
    rng = np.random.default_rng(0)
    split: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    names = {**EuroSAT.folder_names, "Forest": "Forest", "River": "River"}
    for label, (folder, name) in enumerate(sorted(names.items())):
        number = 0
        for part, count in (("train", N_SHOTS), ("val", N_VAL), ("test", n_test)):
            for _ in range(count):
                number += 1
                path = root / "eurosat" / "2750" / folder / f"{folder}_{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path, quality=90)
                split[part].append([f"{folder}/{path.name}", label, name])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))


class RunFailed(RuntimeError):
    """A launcher's run failed; the message ends with what it said."""


def time_run(dataset: str, data: Path, folder: Path, pairs: list[str]) -> dict[str, Any]:
    """Run the launcher once and take its time apart.

    Returns:
        seconds: ``total``; ``steps``, in which batches were computed; ``waiting`` for batches; ``test``; and ``rest``, which is neither steps nor test.

    Raises:
        RunFailed: the run failed; its last lines are in the message.
    """
    environment = os.environ | {"DATA": str(data), "OUTPUT": str(folder), "PYTHON": sys.executable}
    command = ["bash", str(REPO / "scripts/mpl/base2new_train.sh"), dataset, "1", "TRAIN.PRINT_FREQ", "1", *pairs]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    total = time.perf_counter() - start
    if done.returncode:
        raise RunFailed(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    (result_path,) = folder.rglob("result.json")
    result = json.loads(result_path.read_text())
    steps = [json.loads(line) for line in (result_path.parent / "metrics.jsonl").read_text().splitlines()]
    waiting = sum(step["data_time"] for step in steps)
    computing = sum(step["batch_time"] for step in steps) - waiting
    rest = total - computing - result["test_seconds"]
    backbone = result["backbone"] if result["backbone"] in published_models() else Path(result["backbone"]).name
    return {
        "run": dataset, "backbone": backbone, "n_steps": len(steps), "n_test": result["total"], "total": total, "steps": computing,
        "waiting": waiting, "test": result["test_seconds"], "rest": rest, "rest_share": rest / total,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; waiting for batches is part of the rest."""
    lines = [
        "| run | backbone | from command to result | steps | seconds in steps | test pictures | seconds in test | the rest | share |",
        "|" + "---|" * 9,
    ]
    for r in rows:
        cells = [
            r["run"],
            r["backbone"],
            f"{r['total']:.1f} s",
            str(r["n_steps"]),
            f"{r['steps']:.1f} s",
            str(r["n_test"]),
            f"{r['test']:.1f} s",
        ]
        cells += [f"{r['rest']:.1f} s ({r['waiting']:.1f} s for batches)", f"{100 * r['rest_share']:.1f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_runs(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the runs one after the other in a new folder, and print the figures of each as it ends.

    Raises:
        RunFailed: as :func:`time_run`.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for run in args.runs:
            # Kept pictures of an earlier run would make this one faster.
            pairs, data = ["DATALOADER.CACHE_DIR", str(folder / "pictures"), *args.pairs], REPO / "data"
            if run == "eurosat":
                data, weights = folder / "data", folder / "random.pt"
                write_eurosat_size(data, args.test_pictures)
                torch.manual_seed(0)
                torch.save(CLIP(published_models()[args.backbone].config).state_dict(), weights)
                pairs += ["MODEL.BACKBONE.NAME", str(weights)]
            rows.append(time_run(run, data, folder / f"output_{run}", pairs))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Time the runs that the arguments name, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=names(RUNS), default=",".join(RUNS), help="shapes, eurosat, or both")
    parser.add_argument("--backbone", default="ViT-B/16", choices=list(published_models()), help="of the run on random pictures")
    parser.add_argument(
        "--test-pictures",
        type=number(),
        default=20,
        help="test pictures a class of the random set",
    )
    parser.add_argument("--json", type=new_file, help="file for the figures")
    parser.add_argument("pairs", nargs="*", help="KEY VALUE pairs for the runs")
    args = parser.parse_args(argv)
    if refused := [key for key in args.pairs[::2] if key in OWN_KEYS]:
        parser.error(
            f"{' and '.join(refused)} cannot be given: times are read from a line a step and from the test, which these would take away"
        )
    try:
        rows = time_runs(args)
    except RunFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    machine = machine_of(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(", ".join(machine.values()))
    print(table(rows))
    if args.json:
        write_json({**machine, "rows": rows}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
