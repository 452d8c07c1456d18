#!/usr/bin/env python3
"""Say what is wrong with the data folder and the CLIP weights, and how to cure it:  python tools/doctor.py [DATASET …] --root $DATA

With names, exactly these datasets are asked for. Without any, all are looked for, those that are there have to be sound, and so have the weights that
are there; at least one dataset has to be there. Nothing is downloaded, moved or mended; --decode notes in the dataset's folder which pictures
were read, as training does. Exit status: 0 if all that was asked for is sound, 1 if not, 2 for a command that cannot be carried out.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clip.weights import available_models, find_local
from diagnosis import DatasetReport, WeightsReport, inspect_dataset, inspect_weights
from diagnosis.findings import prepare_command
from diagnosis.published import PUBLISHED_PATH, config_name, read_published, readers
from diagnosis.report import console, disk_finding, finding_lines, free_bytes, picture_cache, show_datasets, show_weights, size, to_json
from preparation.sources import check_root

REPO = Path(__file__).resolve().parents[1]
STANDARD_WEIGHTS = "ViT-B/16"  # of every published config


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 where it cannot be carried out."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Exit status: 0 if all that was asked for is sound, 1 if not, 2 for a command that cannot be carried out.",
    )
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=f"names of configs/datasets: {', '.join(readers())}; default: all")
    parser.add_argument("--root", type=Path, help="the data folder; default: $DATA, or data/ in the clone")
    parser.add_argument("--decode", action="store_true", help="decode every picture to its end (ImageNet: about an hour)")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME", help="CLIP weights to examine, by name or path, such as ViT-B/16"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")
    parser.add_argument("--counts", type=Path, default=PUBLISHED_PATH, metavar="FILE", help="another table of published counts (YAML)")
    args = parser.parse_args(argv)
    try:
        args.names = list(dict.fromkeys(map(config_name, args.datasets)))
        args.published = read_published(args.counts)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    root = args.root or Path(os.environ.get("DATA") or REPO / "data")
    args.root = Path(os.path.abspath(root.expanduser()))
    try:
        check_root(args.root)
    except ValueError as error:
        parser.error(str(error))
    return args


def examine_datasets(args: argparse.Namespace) -> list[DatasetReport]:
    """A report for each dataset asked for, with a bar on a terminal while pictures are decoded."""
    columns = [TextColumn("{task.description}"), BarColumn(), *([MofNCompleteColumn(), TimeRemainingColumn()] if args.decode else [])]
    bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    reports = []
    with bars:
        for name in args.names or readers():
            figures = args.published.get(name, {})
            total = sum(n for key, n in figures.items() if key != "classes") or None
            task = bars.add_task(f"decoding {name}" if args.decode else f"examining {name}", total=total if args.decode else None)

            def advance(n_decoded: int, task: int = task) -> None:
                bars.advance(task, n_decoded)  # type: ignore[arg-type]

            reports.append(inspect_dataset(name, args.root, args.decode, args.published, advance))
            bars.remove_task(task)
    return reports


def examine_weights(args: argparse.Namespace) -> list[WeightsReport]:
    """A report for each set of weights asked for; with no name of anything, for the standard ones and all that are on this machine."""
    if args.weights or args.names:
        return [inspect_weights(name) for name in dict.fromkeys(args.weights)]
    names = [STANDARD_WEIGHTS, *(name for name in available_models() if name != STANDARD_WEIGHTS and find_local(name) is not None)]
    return [inspect_weights(name) for name in names]


def is_sound(args: argparse.Namespace, datasets: Sequence[DatasetReport], weights: Sequence[WeightsReport]) -> bool:
    """Whether all that was asked for is sound; what was not asked for by name counts where it is there."""
    counted: list[DatasetReport | WeightsReport] = [report for report in datasets if args.names or report.is_found]
    if not args.names and not args.weights and not counted:
        return False
    counted += [report for report in weights if args.weights or report.path is not None]
    return all(report.is_sound for report in counted)


def show(args: argparse.Namespace, datasets: Sequence[DatasetReport], weights: Sequence[WeightsReport]) -> None:
    """The tables, and below them the findings: of what was asked for by name or is there."""
    missing = "" if args.root.is_dir() else " (it does not exist yet)"
    print(f"Data folder {args.root}{missing}; {size(free_bytes(args.root))} free")
    cache, n_cached = picture_cache(args.root)
    if n_cached:
        print(f"Decoded pictures kept in {cache}: {size(n_cached)}, which can be removed at any time")
    if datasets:
        console().print(show_datasets(datasets, args.decode))
    if weights:
        console().print(show_weights(weights))
    told = [(report.name, report.findings) for report in datasets if args.names or report.is_found]
    told += [(report.name, report.findings) for report in weights if args.weights or report.path is not None]
    disk = disk_finding(args.root)
    told += [("disk", [disk])] if disk is not None else []
    for name, finding in [(name, finding) for name, findings in told for finding in findings]:
        print("\n".join(finding_lines(name, finding)))
    absent, absent_weights = not_here(args, datasets, weights)
    if absent:
        print(f"Not there: {', '.join(report.name for report in absent)}.")
        cures = {report.name: report.findings[0].cure for report in absent}
        fetched = [name for name, cure in cures.items() if name != "shapes" and cure == prepare_command(name, args.root)]
        together = [shlex.join(["python", "tools/prepare.py", *fetched, "--root", str(args.root)])] if fetched else []
        for cure in together + [cure for name, cure in cures.items() if name not in fetched]:
            print(f"      cure: {cure}")
    for report in absent_weights:
        print(f"Not there: {report.name}.\n      cure: {report.findings[0].cure}")


def not_here(
    args: argparse.Namespace, datasets: Sequence[DatasetReport], weights: Sequence[WeightsReport]
) -> tuple[list[DatasetReport], list[WeightsReport]]:
    """The datasets and weights that were looked for without being asked for by name, and are not there."""
    return (
        [report for report in datasets if not report.is_found and not args.names],
        [report for report in weights if report.path is None and not args.weights],
    )


def verdict(args: argparse.Namespace, datasets: Sequence[DatasetReport], weights: Sequence[WeightsReport]) -> str:
    """The last line: whether all is sound, and how much of what was looked for is not here."""
    absent, absent_weights = not_here(args, datasets, weights)
    lacking = [f"{len(absent)} dataset{'s' if len(absent) > 1 else ''}"] if absent else []
    lacking += [report.name for report in absent_weights]
    sound = is_sound(args, datasets, weights)
    if not lacking:
        return "All that was asked for is sound." if sound else "Not all is sound."
    is_empty = not args.names and not any(report.is_found for report in datasets)
    said = "What is here is sound" if sound else "No dataset is here" if is_empty else "Not all that is here is sound"
    return f"{said}; not here: {' and '.join(lacking)} (the commands that get them stand above)."


def main(argv: Sequence[str] | None = None) -> int:
    """Examine, print, and give the exit status."""
    try:
        args = parse(argv)
        weights = examine_weights(args)
        datasets = examine_datasets(args) if args.names or not args.weights else []
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    sound = is_sound(args, datasets, weights)
    if args.json:
        print(json.dumps(to_json(args.root, datasets, weights, sound), indent=1))
    else:
        show(args, datasets, weights)
        print(verdict(args, datasets, weights))
    return 0 if sound else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
