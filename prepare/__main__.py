"""Fetch and check datasets and CLIP weights: python -m prepare fetch eurosat --root data"""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any

from dassl.command import run_command

from .archives import in_gb
from .sources import SENTENCES_PATH, TABLE_PATH, data_folder, find_dataset, load_table

if TYPE_CHECKING:
    from .check import Report


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m prepare`."""
    parser = argparse.ArgumentParser(
        prog="python -m prepare",
        description="Fetch and check datasets and CLIP weights.",
        epilog="Exit status: 0 if everything is sound, 1 if not, 2 for a mistake in the command.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    fetch = verbs.add_parser("fetch", help="download and unpack datasets")
    fetch.add_argument("--all", action="store_true", help="every dataset")
    fetch.add_argument("--list", action="store_true", help="print sizes, licences and what is complete")
    fetch.add_argument("--from", dest="archives", type=Path, metavar="FOLDER", help="archives that you have")
    fetch.add_argument("--force", action="store_true", help="fetch again, and replace what is there")
    fetch.set_defaults(run=run_fetch)
    check = verbs.add_parser("check", help="examine datasets and CLIP weights")
    check.add_argument("--full", action="store_true", help="decode every image (ImageNet: about an hour)")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=run_check)
    for verb in (fetch, check):
        verb.add_argument("names", nargs="*", metavar="NAME", help="datasets, as in configs/datasets")
        verb.add_argument("--root", help="the data folder (default: $DATA, else data/ in the clone)")
        verb.add_argument(
            "--sources", type=Path, default=TABLE_PATH, metavar="FILE", help="another sources.yaml"
        )
    weights = verbs.add_parser("weights", help="fetch CLIP weights and read them")
    weights.add_argument("names", nargs="+", metavar="NAME", help="such as ViT-B/16")
    weights.set_defaults(run=run_weights)
    return parser


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch each dataset, then check them all; 1 if one is not complete or not sound."""
    from .fetch import FetchError, fetch

    root, table, sentences = data_folder(args.root), load_table(args.sources), load_table(SENTENCES_PATH)
    names = [find_dataset(name, table | sentences).name for name in args.names]
    if args.list:
        _print_list(args.sources, root, [name for name in names if name in table] or list(table))
        return 0
    names = list(table) if args.all else names
    if not names:
        raise ValueError("Name datasets, or give --all or --list.")
    if args.archives is not None and not args.archives.is_dir():
        raise ValueError(f"--from {args.archives} is no folder: give the folder that holds the archives.")
    status = 0
    for name in dict.fromkeys(names):
        try:
            path = SENTENCES_PATH if name in sentences else args.sources
            fetch(name, root, args.archives, args.force, path)
        except (FetchError, OSError) as error:
            print(f"Error: {error}", file=sys.stderr)
            status = 1
    args.names, args.full, args.json = [name for name in names if name in table], False, False
    return max(status, run_check(args)) if args.names else status


def _print_list(sources: Path, root: Path, names: Sequence[str]) -> None:
    table = load_table(sources)
    print(f"{'dataset':<16} {'folder':<21} {'download':<14} {'in the data folder':<19} licence, page")
    for dataset in (table[name] for name in names):
        sizes = dataset.archive_bytes
        known = sum(size or 0 for size in sizes)
        size = in_gb(known) if known or not sizes else "not known"
        size = f"over {size}" if known and None in sizes else size
        state = "incomplete" if dataset.missing(root) else "complete"
        about = f"{dataset.licence}, {dataset.page}" if dataset.page else dataset.licence
        print(f"{dataset.name:<16} {dataset.folder:<21} {size:<14} {state:<19} {about}")
    total = sum(size or 0 for name in names for size in table[name].archive_bytes)
    print(f"Downloads of known size: {in_gb(total)}. Data folder: {root}. Sources: {sources}")


def run_check(args: argparse.Namespace) -> int:
    """Print what was found and its faults; 1 if a dataset that was named, or found, is not sound."""
    from .check import check_dataset, check_weights

    root, table = data_folder(args.root), load_table(args.sources)
    names = dict.fromkeys(find_dataset(name, table).name for name in args.names)
    reports = [check_dataset(table[name], root, args.full) for name in names or table]
    weights = [] if names else check_weights()
    counted = [report for report in reports + weights if names or report.is_found]
    is_sound = any(report.is_found for report in reports) and all(report.is_sound for report in counted)
    if args.json:
        found: dict[str, Any] = {"root": str(root), "is_sound": is_sound}
        for key, group in (("datasets", reports), ("weights", weights)):
            found[key] = [{**dataclasses.asdict(report), "is_sound": report.is_sound} for report in group]
        print(json.dumps(found, indent=1))
    else:
        _print_reports(reports, root)
        for report in weights:
            print(f"{report.name}: {report.path or 'not here; python -m prepare weights ' + report.name}")
        for report in counted:
            for finding in report.findings:
                word = "FAULT" if finding.is_fault else "note "
                print(f"{word} {report.name}: {finding.what}\n      cure: {finding.cure}")
        absent = [report.name for report in reports if not report.is_found]
        if absent and not names:
            command = join(["python", "-m", "prepare", "fetch", *absent, "--root", str(root)])
            print(f"Datasets that are not there can be fetched: {command}")
        print("Everything that is there is sound." if is_sound else "Not everything is sound.")
    return 0 if is_sound else 1


def _print_reports(reports: Sequence["Report"], root: Path) -> None:
    """A row a dataset; a count that differs from the published one is followed by that in brackets."""
    free = f"; {in_gb(shutil.disk_usage(root).free)} free" if root.is_dir() else " (it does not exist yet)"
    print(f"Data folder {root}{free}")
    row = "{:<16} {:>13} {:>21} {:>17} {:>17} {:>22} {:>10}  {}"
    print(row.format("dataset", "classes", "train", "val", "test", "images present", "unreadable", "state"))
    for report in reports:
        cells = []
        for key in ("classes", "train", "val", "test"):
            found = report.n_classes if key == "classes" else report.counts.get(key)
            published = report.published.get(key, found)
            differs = f" ({published:,})" if found != published else ""
            cells.append("-" if found is None else f"{found:,}{differs}")
        present = "-" if report.n_present is None else f"{report.n_present:,} of {report.n_named:,}"
        unreadable = "-" if report.n_unreadable is None else f"{report.n_unreadable:,}"
        n_faults = sum(finding.is_fault for finding in report.findings)
        state = f"faults: {n_faults}" if n_faults else "sound"
        state = state if report.is_found else "not there"
        print(row.format(report.name, *cells, present, unreadable, state))


def run_weights(args: argparse.Namespace) -> int:
    """Fetch CLIP weights and read them, as a run does; 1 if some could not be fetched."""
    import clip
    from clip.weights import find_local

    status = 0
    for name in args.names:
        try:
            n_parameters = sum(parameter.numel() for parameter in clip.load(name).parameters())
            print(f"{name}: {find_local(name)}, {n_parameters:,} parameters")
        except (OSError, ValueError) as error:
            print(f"Error: {name}: {error}", file=sys.stderr)
            status = 1
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives its exit status."""
    args = build_parser().parse_args(arguments)
    return run_command(lambda: args.run(args))


if __name__ == "__main__":
    sys.exit(main())
