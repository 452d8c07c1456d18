#!/usr/bin/env python3
"""Make the papers' tables from finished runs, with the published figures beside them.

    python tools/results.py output
    python tools/results.py output/base2new output/ZeroshotCLIP --datasets all --seeds 1,2,3 --format html --out results.html --figures figures
    python tools/results.py output/grid --pivot N_ADD_OP,N_RM_OP --metric H

Read are the runs' result.json and metrics.jsonl alone. What kind of experiment a run belongs to (base-to-new, cross-dataset, domain generalisation,
few-shot) is told from its result. Missing runs are marked, averages over less than was asked for say so, and runs of one method with other settings
are rows of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reporting.aggregate import Asked, ResultTable, make_table
from reporting.pivot import PivotTable, make_pivots
from reporting.protocols import PROTOCOLS, sort_into_experiments
from reporting.published import BENCHMARK, IMAGENET_VARIANTS
from reporting.runs import find_runs
from reporting.text import to_csv, to_latex, to_markdown, to_terminal

CONFIGS = Path(__file__).resolve().parents[1] / "configs/datasets"
Tables = Sequence[ResultTable | PivotTable]
WRITERS: dict[str, Callable[[Tables], str]] = {"markdown": to_markdown, "latex": to_latex, "csv": to_csv}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="folders that runs were written to; everything below is read")
    parser.add_argument("--protocols", help=f"tables to make, of {','.join(PROTOCOLS)}; by default all that have runs")
    parser.add_argument(
        "--datasets", help="such as EuroSAT,oxford_pets (as in the tables or as the configs), or all for the papers'; default: found"
    )
    parser.add_argument("--methods", help="names of trainers, such as MPL,MaPLe; by default those found")
    parser.add_argument("--seeds", help="numbers, such as 1,2,3, that each figure should rest on; by default those found")
    parser.add_argument(
        "--pivot", nargs="?", const="", metavar="ROWS[,COLUMNS]", help="runs of a grid as tables of two TRAINER settings, with heat maps"
    )
    parser.add_argument("--metric", help="of a pivot: base, new, H, accuracy, or a number of shots; by default H or the accuracy")
    parser.add_argument("--format", choices=("terminal", "html", *WRITERS), default="terminal")
    parser.add_argument("--out", type=Path, help="file to write; by default the terminal")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="folder for every figure, as PNG and SVG")
    parser.add_argument("--title", default="Results", help="of the HTML page")
    return parser


def listed(text: str | None) -> tuple[str, ...] | None:
    """The parts of a list with commas; None if it was not given."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def dataset_name(word: str) -> str:
    """A dataset's name in the tables: of one that is given by its config, such as oxford_pets, the name that the config gives."""
    path = CONFIGS / f"{word}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["DATASET"]["NAME"] if path.is_file() else word


def asked_for(args: argparse.Namespace, protocol: str) -> Asked:
    """What the arguments ask a table of `protocol` to hold.

    Raises:
        ValueError: a seed is no number.
    """
    datasets = listed(args.datasets)
    if datasets == ("all",):
        datasets = IMAGENET_VARIANTS if protocol == "dg" else BENCHMARK
    elif datasets:
        datasets = tuple(map(dataset_name, datasets))
    seeds = listed(args.seeds)
    if seeds and not all(seed.lstrip("-").isdigit() for seed in seeds):
        raise ValueError(f"--seeds is {args.seeds!r}; it takes whole numbers with commas between them, such as 1,2,3")
    return Asked(datasets, listed(args.methods), tuple(map(int, seeds)) if seeds else None)


def make_tables(args: argparse.Namespace) -> tuple[list[ResultTable | PivotTable], list[str]]:
    """The tables that the arguments ask for, and sentences on runs that stand in none.

    Raises:
        FileNotFoundError: there are no runs.
        ValueError: an argument is not accepted, or no run is of what was asked for.
    """
    found = find_runs(args.dirs)
    experiments, notes = sort_into_experiments(found.runs)
    wanted = listed(args.protocols) or tuple(PROTOCOLS)
    unknown = [name for name in wanted if name not in PROTOCOLS]
    if unknown:
        raise ValueError(f"--protocols has {', '.join(unknown)}; known: {', '.join(PROTOCOLS)}")
    tables = [make_table(e, asked_for(args, e.protocol)) for e in experiments if e.protocol in wanted]
    tables = [table for table in tables if table.experiment.all_runs]
    left_out = [*found.notes, *notes]
    if not tables:
        told = "".join(f"\n  {note}" for note in left_out[:20])
        raise ValueError(f"no finished run below {', '.join(map(str, args.dirs))} is of what was asked for{told}")
    if args.pivot is None:
        return list(tables), left_out
    pivots = [pivot for table in tables for pivot in make_pivots(table, listed(args.pivot) or (), args.metric)]
    if not pivots:
        raise ValueError(
            "--pivot: no setting of TRAINER differs between runs of one method on the same data and seed; a grid has such runs"
        )
    return list(pivots), left_out


def write(args: argparse.Namespace) -> None:
    """Make the tables and write them where the arguments say.

    Raises:
        FileNotFoundError, ValueError: as `make_tables`.
    """
    tables, left_out = make_tables(args)
    if args.format == "html":
        from reporting.page import make_page

        text = make_page(tables, left_out, args.title)
    elif args.format == "terminal":
        text = to_terminal(tables, is_terminal=args.out is None and sys.stdout.isatty())
    else:
        text = WRITERS[args.format](tables)
    for note in left_out:
        print(note, file=sys.stderr)
    if args.out is not None or args.format == "csv":  # otherwise they stand below the tables on the same terminal
        for table in tables:
            for warning in table.provenance.warnings:
                print(f"WARNING: {table.title}: {warning}", file=sys.stderr)
    if args.figures:
        from reporting.figure_sets import save_figures

        for path in save_figures(tables, args.figures):
            print(f"Drawn: {path}", file=sys.stderr)
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
        print(f"Written: {args.out}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for an error that an argument or a file caused, which is told in a few lines."""
    try:
        write(build_parser().parse_args(argv))
    except (ValueError, OSError) as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
