"""The command line: `python -m benchmarks gpu | steps | growth | runs | shapes | tiny-shapes`."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dassl.command import run_command


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "--device": {"default": "cpu", "help": "cpu or cuda"},
    "--prec": {"default": "fp32", "choices": ("fp32", "fp16", "bf16", "amp")},
    "--repeats": {"default": 5, "type": int, "help": "timed runs of each side"},
    "--backbone": {"default": "ViT-B/16", "help": "its weights are random"},
    "--methods": {"type": words, "help": "with commas; None is all"},
    "--classes": {"default": [5, 50, 250], "type": numbers, "help": "with commas"},
    "--published-up-to": {"default": 500, "type": int, "help": "classes up to which it takes a step"},
    "--test-images": {"default": 4200, "type": int, "help": "images of a test set"},
    "--runs": {"default": ["shapes", "eurosat"], "type": words, "help": "with commas"},
    "--seeds": {"default": 10, "type": int, "help": "1 to this"},
    "--jobs": {"default": 1, "type": int, "help": "runs at once on the CPU"},
    "--data": {"default": Path("data"), "type": Path, "help": "folder of the datasets"},
    "--output": {"type": Path, "help": "folder of the runs, or weights file to write"},
    "--figure": {"type": Path, "help": "file of the plot, .png or .svg"},
    "--show": {"action": "store_true", "help": "run nothing, print and draw what is finished"},
    "--steps": {"default": 2800, "type": int, "help": "optimiser steps"},
    "--batch-size": {"default": 1024, "type": int, "help": "pairs a step"},
    "--workers": {"default": 2, "type": int, "help": "processes that draw icons"},
    "pairs": {"nargs": "*", "metavar": "KEY VALUE", "help": "settings for the runs"},
}
STEP = "--device --prec --repeats --backbone --published-up-to"
STEPS = f"{STEP} --methods --classes --test-images pairs"
# Verb, what it does, its functions, its arguments, and the defaults that are its own.
VERBS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("gpu", "steps and whole runs of MPL on a GPU (docs/BENCHMARKS.md)", "steps.run runs.run",
     f"{STEPS} --runs",
     {"device": "cuda", "prec": "fp16", "repeats": 9, "classes": [5, 500], "methods": ["MPL"],
      "runs": ["eurosat"]}),
    ("steps", "training step, memory and test against the published way", "steps.run", STEPS,
     {"methods": ["MPL"]}),
    ("growth", "a step of MPL by classes, prompts, depth and batch", "growth.run", f"{STEP} --figure",
     {"published_up_to": 50}),
    ("runs", "whole runs, from the command to the result", "runs.run",
     "--runs --backbone --test-images pairs", {"test_images": 200}),
    ("shapes", "every method on Shapes over many seeds (docs/SHAPES.md)", "shapes.run",
     "--methods --seeds --jobs --data --output --figure --show", {"output": Path("output/seeds")}),
    ("tiny-shapes", "train the small CLIP that the project carries", "tiny_shapes.run",
     "--steps --batch-size --workers --device --output",
     {"output": Path("tiny_shapes.safetensors")}),
]  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, what, functions, arguments, defaults in VERBS:
        verb = verbs.add_parser(name, help=what, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        for argument in arguments.split():
            verb.add_argument(argument, **ARGUMENTS[argument])
        verb.set_defaults(functions=functions.split(), **defaults)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)

    def run() -> None:
        for function in args.functions:
            module, name = function.split(".")  # imported here, since torch is slow to import
            getattr(importlib.import_module(f"benchmarks.{module}"), name)(args)

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
