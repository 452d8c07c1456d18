"""The command line: `python -m benchmarks steps | growth | runs | shapes | tiny-shapes`."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.command import run_command


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def build_parser() -> argparse.ArgumentParser:
    """A subcommand for each module of the folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    timed = argparse.ArgumentParser(add_help=False)
    timed.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    timed.add_argument("--backbone", default="ViT-B/16", help="a published CLIP; its weights are random")
    timed.add_argument("--prec", choices=("fp32", "fp16", "bf16", "amp"), default="fp32")
    timed.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    timed.add_argument("--json", type=Path, help="file for the figures")

    verb = verbs.add_parser(
        "steps", parents=[timed], help="training step, memory and test against the published way"
    )
    verb.add_argument("--method", type=lambda text: text.split(","), default=["MPL"], help="with commas")
    verb.add_argument("--classes", type=numbers, default=[5, 50, 250], help="with commas")
    verb.add_argument("--published-up-to", type=int, default=250, help="classes up to which it takes a step")
    verb.add_argument("--test-images", type=int, default=4200, help="images of a test set")

    verb = verbs.add_parser(
        "growth", parents=[timed], help="a step of MPL by classes, prompts, depth and batch"
    )
    verb.add_argument("--published-up-to", type=int, default=50)
    verb.add_argument("--figure", type=Path, help="file of the plot, .png or .svg")

    verb = verbs.add_parser("runs", help="whole runs, from the command to the result")
    verb.add_argument("--runs", type=lambda text: text.split(","), default=["shapes", "eurosat"])
    verb.add_argument(
        "--backbone", default="ViT-B/16", help="of the run of EuroSAT's size; its weights are random"
    )
    verb.add_argument("--test-images", type=int, default=20, help="test images a class of that run")
    verb.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="settings for the runs")

    verb = verbs.add_parser("shapes", help="every method on Shapes over many seeds (docs/SHAPES.md)")
    verb.add_argument(
        "--methods", type=lambda text: text.split(","), default=[], help="with commas (default: all)"
    )
    verb.add_argument("--seeds", type=int, default=10, help="1 to this")
    verb.add_argument("--jobs", type=int, default=1, help="runs at once on the CPU")
    verb.add_argument("--data", type=Path, default=Path("data"), help="folder of the datasets")
    verb.add_argument("--output", type=Path, default=Path("output/seeds"), help="folder of the runs")
    verb.add_argument("--figure", type=Path, help="file of the plot, .png or .svg")
    verb.add_argument("--show", action="store_true", help="run nothing, print and draw what is finished")

    verb = verbs.add_parser("tiny-shapes", help="train the small CLIP that the project carries")
    verb.add_argument("--steps", type=int, default=2800, help="optimiser steps")
    verb.add_argument("--batch-size", type=int, default=1024, help="pairs a step")
    verb.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate of AdamW")
    verb.add_argument("--seed", type=int, default=1, help="seed of the weights and of the pairs")
    verb.add_argument("--workers", type=int, default=2, help="processes that draw icons")
    verb.add_argument("--device", default="cpu", help="cuda or cpu")
    verb.add_argument("--output", type=Path, required=True, help="weights file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    name = f"benchmarks.{args.verb.replace('-', '_')}"
    return run_command(lambda: importlib.import_module(name).run(args))  # torch is slow to import


if __name__ == "__main__":
    sys.exit(main())
