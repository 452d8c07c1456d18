#!/usr/bin/env python3
"""Time a loader that decodes every picture against one that keeps what was decoded, in turn, in one process.

    python tools/benchmark_pictures.py                      # 300 pictures of each kind, no loading processes
    python tools/benchmark_pictures.py --pictures 1000 --json docs/benchmark_pictures.json
    python tools/benchmark_pictures.py --workers 2 --from-disk   # with loading processes, and files read from the disk

Pictures a second of a whole loader (transform, tensor, batch) as the published configs set it: for tests, resized and cropped to 224; for training, random
crop and flip. The pictures are noise over blurred blobs, which compress as photographs do. "First" reads them for the first time and keeps them (DATALOADER.
CACHE_GIB), "later" finds them kept; batches are compared and are the same. Files are in the system's memory, unless `--from-disk` drops them from it before
each pass. "Reads" are the KiB of a picture's own file, and those that are read in its place when it is kept: 3 bytes a pixel, 147 KiB at 224 x 224.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dassl.config import get_cfg_default
from dassl.data import build_data_loader
from dassl.data.cache_folder import FOLDER_NAME
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from dassl.utils import set_random_seed, write_json
from tools.arguments import new_file, number

KINDS = ((512, 384, "jpg"), (64, 64, "jpg"), (64, 64, "png"))  # as Food101's and as EuroSAT's and Shapes'
TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")  # of every published config
BATCH = 100


def write_pictures(folder: Path, width: int, height: int, ending: str, count: int) -> list[Datum]:
    """Write pictures; the same for every call."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        blobs = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)).resize((width, height))
        pixels = np.asarray(blobs, dtype=np.int16) + rng.integers(-12, 12, (height, width, 3), dtype=np.int16)
        path = folder / f"{index}.{ending}"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)  # PNG has none
        rows.append(Datum(str(path)))
    return rows


def drop_from_memory(folder: Path) -> None:
    """Let the next look at the files of a folder read them from its disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds_of_a_pass(rows: list[Datum], folder: Path, is_train: bool, keeps: bool, args: argparse.Namespace) -> tuple[float, str]:
    """Seconds that a loader takes for all pictures, and the digest of its batches."""
    if args.from_disk:
        drop_from_memory(folder)
    cfg = get_cfg_default()
    cfg.merge_from_list(["DATASET.ROOT", str(folder), "INPUT.INTERPOLATION", "bicubic", "INPUT.TRANSFORMS", TRANSFORMS, "VERBOSE", False])
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", args.workers, "DATALOADER.CACHE_GIB", 24.0 if keeps else 0.0])
    sampler = "RandomSampler" if is_train else "SequentialSampler"
    loader = build_data_loader(cfg, sampler, rows, BATCH, tfm=build_transform(cfg, is_train), is_train=is_train)
    set_random_seed(0)
    digest, start, spent = hashlib.sha256(), time.perf_counter(), 0.0
    for batch in loader:
        spent += time.perf_counter() - start
        digest.update(batch["img"].numpy())
        start = time.perf_counter()
    loader.stop_workers()
    return spent, digest.hexdigest()


def measure(kind: tuple[int, int, str], is_train: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of the three sides, for one kind of picture; AssertionError if their batches differ."""
    times: dict[str, list[float]] = {"without": [], "first": [], "later": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_pictures(folder, *kind, args.pictures)
        n_own_bytes = sum(os.path.getsize(row.impath) for row in rows)
        digests = {seconds_of_a_pass(rows, folder, is_train, False, args)[1]}  # warms up
        n_bytes = 0
        for _ in range(args.repeats):
            shutil.rmtree(folder / FOLDER_NAME, ignore_errors=True)
            for side, seconds in times.items():
                spent, digest = seconds_of_a_pass(rows, folder, is_train, side != "without", args)
                seconds.append(spent)
                digests.add(digest)
            n_bytes = sum(path.stat().st_size for path in (folder / FOLDER_NAME).glob("*"))
    assert len(digests) == 1, "the batches differ"
    n_loaded = args.pictures // BATCH * BATCH if is_train else args.pictures
    rates = {side: n_loaded / statistics.median(seconds) for side, seconds in times.items()}
    reads = {"own_kib": n_own_bytes / 1024 / args.pictures, "kept_kib": n_bytes / 1024 / args.pictures, "kept_mib": n_bytes / 2**20}
    return {"picture": f"{kind[0]} x {kind[1]} {kind[2]}", "use": "training" if is_train else "test", **reads, **rates}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=number(BATCH), default=300, help="pictures of each kind")
    parser.add_argument("--repeats", type=number(), default=5, help="timed passes of each side")
    parser.add_argument("--workers", type=number(0), default=0, help="loading processes")
    parser.add_argument("--from-disk", action="store_true", help="drop the files from the system's memory before each pass (Linux)")
    parser.add_argument("--json", type=new_file, help="file for the figures")
    args = parser.parse_args(argv)
    if args.from_disk and not hasattr(os, "posix_fadvise"):
        parser.error("--from-disk needs a system that can drop files from memory, such as Linux")
    torch.set_num_threads(1)
    machine = f"{platform.machine()} CPU, one thread, Pillow {PIL.__version__}, Python {platform.python_version()}"
    settings = f"{args.pictures} pictures, {args.workers} loading processes, files {'on disk' if args.from_disk else 'in memory'}"
    print(f"{machine}; {settings}, median of {args.repeats}", flush=True)
    rows = [measure(kind, is_train, args) for kind in KINDS for is_train in (False, True)]
    print(
        "| picture | use | without | first pass | later | faster | reads: own file | kept | all kept |\n|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        rates = " | ".join(f"{row[side]:.0f} /s" for side in ("without", "first", "later"))
        reads = f"{row['own_kib']:.1f} KiB | {row['kept_kib']:.0f} KiB | {row['kept_mib']:.0f} MiB"
        print(f"| {row['picture']} | {row['use']} | {rates} | {row['later'] / row['without']:.2f}x | {reads} |")
    if args.json:
        write_json({"machine": machine, "settings": settings, "rows": rows}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
