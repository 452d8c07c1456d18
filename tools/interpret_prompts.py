#!/usr/bin/env python3
"""What learned prompts have become:  python tools/interpret_prompts.py PROMPTS.safetensors [--top 5] [--pictures FOLDER] [--out figure.png] [--json | --csv]

Three tables: the words of CLIP's vocabulary nearest to each learned text vector, layer by layer; how far each learned array moved from its start; and
how alike the vision prompts that join before a layer are to those that are carried to it. --json and --csv give every digit.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# torch and the models are imported where they are needed, so that --help answers at once.


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(":  ")[0])
    parser.add_argument("prompts", help="a prompt file: prompts.safetensors of a run's folder")
    parser.add_argument("--top", type=int, default=5, help="words shown for each vector (default: 5)")
    parser.add_argument(
        "--in-layer", action="store_true", help="compare a deeper layer's vectors with the words as that layer finds them (slower)"
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="PATH",
        help="pictures or folders that the image tower is shown; without any, one plain picture of the mean colour",
    )
    parser.add_argument("--out", metavar="FIGURE", help="draw the figure here; .png, .pdf or .svg")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    form.add_argument("--csv", action="store_true", help="one line a word, an array and a layer instead of tables")
    parser.add_argument("--backbone", help="where the CLIP's weights are, if the name in the file does not tell")
    parser.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    return parser


def write_csv(rows: Sequence[dict]) -> None:
    """All rows under the union of their columns; a column that a row does not have is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def run(args: argparse.Namespace) -> None:
    """Load, compare, print and draw."""
    from classify import PromptClassifier
    from classify.interpretation import interpret
    from classify.interpretation_report import draw, rows, to_text
    from classify.pictures import find_pictures

    classifier = PromptClassifier.load(args.prompts, backbone=args.backbone, device=args.device)
    pictures = [picture for path in args.pictures or () for picture in find_pictures(path)]
    found = interpret(classifier, args.top, args.in_layer, pictures)
    if args.json:
        about = {"method": found.method, "backbone": found.backbone, "space": found.space, "pictures": found.pictures}
        tables: dict[str, list] = {"words": [], "moves": [], "likeness": []}
        for row in rows(found):
            tables[row.pop("table")].append(row)
        print(json.dumps({**about, **tables}, indent=1, ensure_ascii=False))
    elif args.csv:
        write_csv(rows(found))
    else:
        print(to_text(found, sys.stdout.isatty()), end="")
    if args.out:
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        draw(found, f"{found.method} in {found.backbone}: {Path(args.prompts).name}").savefig(out, dpi=150)
        print(f"Figure: {out}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit status: 0, or 2 for what a file or an argument caused, which is told in a line.
    """
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError, LookupError) as error:
        from dassl.engine.failures import message_of

        print(f"Error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
