#!/usr/bin/env python3
"""Classify pictures with a prompt file:  python tools/predict.py PROMPTS.safetensors PICTURE-OR-FOLDER … [--classes names.txt] [--top 5]

Prints a table, or with --json or --csv what programs read. A folder is searched with all folders below it.
Exit status: 0 if every picture was classified, 1 if some could not be read (they are named on standard error and the others are classified), 2 for an
error in the arguments, the prompt file or the CLIP's weights, where nothing is classified, 130 if interrupted (Ctrl-C).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXPECTED_ERRORS = (ValueError, TypeError, OSError, LookupError, ModuleNotFoundError)
SOME_UNREADABLE = 1  # exit status
INTERRUPTED = 130  # exit status: 128 and the number of Ctrl-C's signal, as shells have it
EXPLANATIONS = "explanations"  # folder of --explain's pictures


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", help="prompts.safetensors of a run's folder")
    parser.add_argument("pictures", nargs="+", help="pictures, and folders of pictures")
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line; by default those of the training")
    parser.add_argument("--top", type=int, default=5, help="classes shown of each picture (default 5)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, a row a picture and class")
    parser.add_argument(
        "--explain",
        metavar="FOLDER",
        nargs="?",
        const=EXPLANATIONS,
        help=f"draw for each picture where the class token looks, as a PNG in this folder ({EXPLANATIONS} by default)",
    )
    parser.add_argument("--backbone", help="where the CLIP's weights are, if the prompt file's name for them is not known here")
    parser.add_argument("--device", help="such as cpu or cuda:0; by default a GPU if there is one")
    parser.add_argument("--precision", help="fp16, bf16, amp or fp32; by default the training's on a GPU, fp32 on a CPU")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures computed at a time (default 32)")
    return parser


def classified(classifier: Any, paths: list[Path], args: argparse.Namespace) -> Iterator[Any]:
    """Predictions and unreadable pictures as they come, with a bar on standard error where that is a terminal and there are some."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    found = classifier.stream(paths, args.top, args.batch_size)
    hidden = not console.is_terminal or len(paths) <= args.batch_size
    return iter(track(found, "Classifying", total=len(paths), console=console, disable=hidden, transient=True))


def draw(classifier: Any, sources: Sequence[str], folder: Path) -> None:
    """Explain each picture in a PNG of its own in ``folder``; pictures of one name in two folders get numbers."""
    from classify.explain import Explainer

    explainer = Explainer(classifier)
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for source in sources:
        stem = re.sub(r"[^\w.-]+", "_", Path(source).stem) or "picture"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        path = folder / f"{name}.png"
        explainer.write(source, path)
        print(f"Explained {source} in {path}", file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    """Classify, print, and say what could not be read.

    Returns:
        exit status.
    """
    from classify import Prediction, PromptClassifier, listing
    from classify.names import read_names
    from classify.pictures import find_pictures

    if args.top < 1 or args.batch_size < 1:
        raise ValueError(f"--top is {args.top} and --batch-size is {args.batch_size}; both take 1 or more")
    if args.explain and Path(args.explain).is_file():
        raise ValueError(f"--explain took {args.explain}, a file, for the folder of its pictures: put it at the end, or give a folder")
    names = read_names(args.classes) if args.classes else None
    paths = [path for given in args.pictures for path in find_pictures(given)]
    classifier = PromptClassifier.load(args.prompts, names, args.backbone, args.device, args.precision)
    predictions, unreadable = [], []
    for found in classified(classifier, paths, args):
        (predictions if isinstance(found, Prediction) else unreadable).append(found)
    if args.json:
        about = {"prompts": args.prompts, "method": classifier.file.method, "classes": list(classifier.classnames)}
        print(listing.as_json(about, predictions, [vars(picture) for picture in unreadable]))
    elif args.csv:
        print(listing.as_csv(predictions))
    elif predictions:
        print(listing.table(predictions, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    if args.explain:
        draw(classifier, [prediction.source for prediction in predictions], Path(args.explain))
    for picture in unreadable:
        print(f"Skipped {picture.source}: {picture.reason}", file=sys.stderr)
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} pictures could not be read", file=sys.stderr)
    return SOME_UNREADABLE if unreadable else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit status: 0, 1 if some pictures could not be read, 2 for an error that an argument or a file caused, 130 if interrupted.
    """
    args = build_parser().parse_args(argv)
    try:
        status = run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EXPECTED_ERRORS as error:
        from dassl.engine.failures import message_of

        print(f"Error: {message_of(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: tables, JSON and CSV are printed when all pictures are classified", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
