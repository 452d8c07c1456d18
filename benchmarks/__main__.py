"""The command line: `python -m benchmarks gpu | steps | growth | runs | busy | shapes | tiny-shapes`."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.command import run_command


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def add_timed(
    verb: argparse.ArgumentParser, device: str = "cpu", prec: str = "fp32", repeats: int = 5
) -> None:
    verb.add_argument("--device", choices=("cpu", "cuda"), default=device)
    verb.add_argument("--prec", choices=("fp32", "fp16", "bf16", "amp"), default=prec)
    verb.add_argument("--repeats", type=int, default=repeats, help="timed runs of each side")
    verb.add_argument("--backbone", default="ViT-B/16", help="its weights are random")


def add_sides(verb: argparse.ArgumentParser, classes: Sequence[int] = (5, 50, 250)) -> None:
    verb.add_argument("--method", type=words, default=["MPL"], help="with commas")
    verb.add_argument("--classes", type=numbers, default=classes, help="with commas")
    verb.add_argument("--published-up-to", type=int, default=500, help="classes up to which it takes a step")
    verb.add_argument("--test-images", type=int, default=4200, help="images of a test set")
    add_pairs(verb)


def add_pairs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="settings for the runs")


def build_parser() -> argparse.ArgumentParser:
    """A subcommand for each module of the folder, and `gpu` for two of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")

    verb = verbs.add_parser("gpu", help="steps and whole runs of MPL on a GPU (docs/BENCHMARKS.md)")
    add_timed(verb, "cuda", "fp16", 9)
    add_sides(verb, (5, 500))
    verb.set_defaults(runs=["eurosat"])

    verb = verbs.add_parser("steps", help="training step, memory and test against the published way")
    add_timed(verb)
    add_sides(verb)

    verb = verbs.add_parser("growth", help="a step of MPL by classes, prompts, depth and batch")
    add_timed(verb)
    verb.add_argument("--published-up-to", type=int, default=50)
    verb.add_argument("--figure", type=Path, help="file of the plot, .png or .svg")

    verb = verbs.add_parser("runs", help="whole runs, from the command to the result")
    verb.add_argument("--runs", type=words, default=["shapes", "eurosat"], help="with commas")
    verb.add_argument("--backbone", default="ViT-B/16", help="of EuroSAT's size; its weights are random")
    verb.add_argument("--test-images", type=int, default=200, help="images of that test set")
    add_pairs(verb)

    verb = verbs.add_parser("busy", help="runs on Shapes that share the cores with others")
    verb.add_argument("--repeats", type=int, default=3, help="timed runs of each load")
    add_pairs(verb)

    verb = verbs.add_parser("shapes", help="every method on Shapes over many seeds (docs/SHAPES.md)")
    verb.add_argument("--methods", type=words, default=[], help="with commas (default: all)")
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
    names = ("steps", "runs") if args.verb == "gpu" else (args.verb.replace("-", "_"),)

    def run() -> int:
        # Imported here, since torch is slow to import.
        return max(importlib.import_module(f"benchmarks.{name}").run(args) or 0 for name in names)

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
