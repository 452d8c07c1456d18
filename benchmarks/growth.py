"""How a training step of MPL grows with classes, prompts, depth and batch; one setting moves at a time."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.steps import (
    build_trainer,
    machine,
    peak_bytes,
    published_side,
    random_batch,
    random_clip,
    seconds_in_turn,
    training_step,
)
from clip import CLIP

PUBLISHED = {"classes": 5, "n_ctx": 1, "depth": 9, "batch": 4}
AXES = {
    "classes": (5, 10, 20, 50, 100, 250),
    "n_ctx": (1, 2, 4, 8, 16),
    "depth": (1, 3, 6, 9, 12),
    "batch": (1, 2, 4, 8, 16, 32),
}
MEASURES = {"seconds": ("step, seconds", 1), "bytes": ("peak memory, GiB", 2**30)}


def measure(clip: CLIP, setting: dict[str, int], args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak bytes of a step of each side."""
    depth = min(setting["depth"], clip.config.text_layers, clip.config.vision_layers)
    pairs = ("TRAINER.MPL.N_CTX", setting["n_ctx"], "TRAINER.MPL.PROMPT_DEPTH", depth)
    ours = build_trainer("MPL", clip, setting["classes"], args.prec, *pairs)
    images, labels = random_batch(clip, setting["batch"], setting["classes"])
    sides = {"ours": ours}
    if setting["classes"] <= args.published_up_to:
        sides["published"] = published_side(ours)
    steps = {name: training_step(side, images, labels) for name, side in sides.items()}
    device = torch.device(args.device)
    peaks = {name: peak_bytes(step, device) for name, step in steps.items()}
    return {**setting, "seconds": seconds_in_turn(steps, args.repeats), "bytes": peaks}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Seconds above and memory below, one column for each setting."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    grid = figure.subplots(2, len(AXES), sharey="row")
    for column, axis in enumerate(AXES):
        held = {key: value for key, value in PUBLISHED.items() if key != axis}
        along = sorted((row for row in rows if held.items() <= row.items()), key=lambda row: row[axis])
        for axes, (measure_name, (label, unit)) in zip(grid[:, column], MEASURES.items(), strict=True):
            for side, style in (("published", "s--"), ("ours", "o-")):
                points = [
                    (row[axis], row[measure_name][side] / unit) for row in along if side in row[measure_name]
                ]
                axes.plot(*zip(*points, strict=True), style, label=side)
            axes.set_xlabel(axis)
            axes.set_ylim(bottom=0)
            if column == 0:
                axes.set_ylabel(label)
    grid[0][0].legend()
    return figure


def run(args: argparse.Namespace) -> None:
    """Measure every setting once, print the rows, and draw them if asked to."""
    clip = random_clip(args.backbone, args.device)
    print(f"{args.backbone}, {args.prec}, {machine(args.device)}, median of {args.repeats}")
    rows: list[dict[str, Any]] = []
    for axis, values in AXES.items():
        for value in values:
            setting = PUBLISHED | {axis: value}
            if not any(setting.items() <= row.items() for row in rows):
                rows.append(measure(clip, setting, args))
                print(rows[-1], flush=True)
    if args.figure:
        args.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(rows).savefig(args.figure, dpi=150)
