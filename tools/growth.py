#!/usr/bin/env python3
"""Measure how the cost of a training step of MPL grows with classes, prompts, depth and batch, and plot it.

    python tools/growth.py --json docs/growth_cpu.json --figure docs/figures/growth_cpu     # a table, and growth_cpu.png and .svg

One setting moves at a time, from 5 classes, N_CTX 1, PROMPT_DEPTH 9 and batches of 4, the published setting of MPL. The published way is measured beside
it, on the same weights, in turn, up to --published-up-to classes. With --from-json the figure is drawn again from measured figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clip.fast import FastPaths
from clip.model import CLIP
from clip.weights import published_models
from dassl.utils.files import read_json, write_json
from reporting.figures import COLOURS, new_figure, plain_ticks, save, styled
from tools.arguments import new_file, number, seen_device
from tools.benchmark import Variant, class_names, machine_of, peak_bytes, seconds_in_turn, training_step
from tools.published_way import PublishedWay


@dataclass(frozen=True)
class Setting:
    """A training step of MPL: C classes, N_CTX, PROMPT_DEPTH and pictures a batch."""

    classes: int = 5
    n_ctx: int = 1
    depth: int = 9
    batch: int = 4


AXES = {  # the values that each setting takes while the others stay
    "classes": (5, 10, 20, 50, 100, 250),
    "n_ctx": (1, 2, 4, 8, 16),
    "depth": (1, 3, 6, 9, 12),
    "batch": (1, 2, 4, 8, 16, 32),
}
LABELS = {"classes": "classes", "n_ctx": "N_CTX", "depth": "PROMPT_DEPTH", "batch": "pictures a batch"}
STYLES = {"published": ("#6E6E6E", "s", "--"), "ours": (COLOURS["MPL"], "o", "-")}


def measure(clip: CLIP, setting: Setting, has_published: bool, repeats: int, device: torch.device) -> dict[str, Any]:
    """Seconds and peak bytes of a step of each side, and the vision prompts that the last layer holds."""
    ours = Variant("MPL", clip, class_names(setting.classes), FastPaths(), n_ctx=setting.n_ctx, depth=setting.depth)
    size = clip.config.image_size
    images = torch.randn(setting.batch, 3, size, size, device=device)
    labels = torch.arange(setting.batch, device=device) % setting.classes
    sides = {"ours": ours, **({"published": PublishedWay(ours.model)} if has_published else {})}
    steps = {name: training_step(side, ours.learner, images, labels) for name, side in sides.items()}
    prompts = ours.learner.vision()
    assert prompts is not None
    return {
        **asdict(setting),
        "vision_prompts": prompts.schedule.n_final,
        "step_seconds": seconds_in_turn(steps, repeats, device),
        "step_peak_bytes": {name: peak_bytes(step, device) for name, step in steps.items()},
    }


def settings() -> list[Setting]:
    """Every setting that is measured, each once."""
    return list(dict.fromkeys(replace(Setting(), **{axis: value}) for axis, values in AXES.items() for value in values))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| classes | N_CTX | vision prompts, last layer | PROMPT_DEPTH | batch | step: published | ours | memory: published | ours |"]
    lines.append("|" + "---|" * 9)
    for row in rows:
        cells = [str(row[key]) for key in ("classes", "n_ctx", "vision_prompts", "depth", "batch")]
        for key, unit, scale in (("step_seconds", "s", 1), ("step_peak_bytes", "GiB", 2**30)):
            cells += [f"{row[key][side] / scale:.3g} {unit}" if row[key].get(side) else "" for side in STYLES]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@styled
def draw(rows: list[dict[str, Any]]) -> Figure:
    """Seconds (above) and GiB (below) of a step against each setting, one column a setting."""
    figure = new_figure(10.5, 5.2)
    grid = figure.subplots(2, len(AXES), sharey="row")
    for column, (axis, values) in enumerate(AXES.items()):
        own = [
            next(row for row in rows if all(row[k] == v for k, v in asdict(replace(Setting(), **{axis: value})).items()))
            for value in values
        ]
        for axes, key, scale in ((grid[0][column], "step_seconds", 1), (grid[1][column], "step_peak_bytes", 2**30)):
            for side, (colour, marker, line) in STYLES.items():
                points = [(row[axis], row[key][side] / scale) for row in own if row[key].get(side)]
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=line, label=side, markersize=4)
            if key == "step_seconds":
                axes.set_yscale("log")
                plain_ticks(axes.yaxis)
            if axis != "depth":
                axes.set_xscale("log")
            axes.set_xticks(values, [str(value) for value in values])
            axes.minorticks_off()
        grid[1][column].set_xlabel(LABELS[axis])
    grid[1][0].set_ylim(bottom=0)  # of all in the row
    grid[0][0].set_ylabel("a step, seconds")
    grid[1][0].set_ylabel("peak memory, GiB")
    grid[0][0].legend(frameon=False)
    return figure


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every setting once, printing as it goes."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    clip = CLIP(published_models()[args.backbone].config).to(device)
    found = {"backbone": args.backbone, **machine_of(device), "repeats": args.repeats, "rows": []}
    print(json.dumps(found), flush=True)
    for setting in settings():
        found["rows"].append(measure(clip, setting, setting.classes <= args.published_up_to, args.repeats, device))
        print(json.dumps(found["rows"][-1]), flush=True)
    return found


def figures_of(path: str) -> dict[str, Any]:
    """The figures that a file of ``--json`` holds, as an argument's type: refused if they are not those of every setting."""
    try:
        found = read_json(path)
        table(found["rows"])
        measured = [{key: row[key] for key in asdict(Setting())} for row in found["rows"]]
        missing = [setting for setting in settings() if asdict(setting) not in measured]
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{path} holds no figures as --json of this tool writes them; measure anew with --json") from error
    if missing:
        raise argparse.ArgumentTypeError(f"{path} lacks {len(missing)} of the settings, {missing[0]} the first; measure anew with --json")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or read, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=seen_device, default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--backbone", default="ViT-B/16", choices=[n for n, m in published_models().items() if m.config.has_vit])
    parser.add_argument("--repeats", type=number(), default=3, help="timed steps of each side; the median is kept")
    parser.add_argument("--published-up-to", type=number(0), default=50, help="classes up to which the published way is measured")
    parser.add_argument("--json", type=new_file, help="file for the figures")
    parser.add_argument("--from-json", type=figures_of, metavar="FILE", help="file of figures to draw, in place of measuring")
    parser.add_argument("--figure", type=Path, help="where the plot goes, without its ending")
    args = parser.parse_args(argv)
    found = args.from_json or run(args)
    print(table(found["rows"]))
    if args.json:
        write_json(found, args.json)
    if args.figure:
        print("\n".join(map(str, save(draw(found["rows"]), args.figure))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
