#!/usr/bin/env python3
"""Fetch datasets and CLIP weights and put them where the readers look:  python tools/prepare.py eurosat caltech101 --root data

Also --all, --list, --weights ViT-B/16, and --from FOLDER for archives that were fetched by hand (ImageNet's). What is there stays, what was interrupted goes
on. The sources are in preparation/sources.yaml. HTTPS_PROXY, HF_ENDPOINT and HF_HUB_OFFLINE of the environment are heeded.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from preparation.errors import PrepareError
from preparation.sources import TABLE_PATH, Dataset, check_root, load_table

REPO = Path(__file__).resolve().parents[1]
DRAWN = {"shapes": "shapes is drawn on first use: nothing to fetch"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default the process's own.

    Returns:
        0 if all that was asked for is there and sound, 1 if not, 2 if the command line cannot be obeyed.
    """
    args = _parser().parse_args(arguments)
    root = Path(os.path.abspath(os.path.expanduser(args.root)))
    try:
        check_root(root)
        table = load_table(args.sources)
        names = list(table) if args.all else [n for n in dict.fromkeys(_known(name, table) for name in args.datasets) if n not in DRAWN]
        if args.by_hand is not None and not args.by_hand.is_dir():
            raise PrepareError(f"--from {args.by_hand} is no folder: give the one that holds the archives fetched by hand")
    except (PrepareError, ValueError) as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    if args.list:
        show(table, root, names)
        return 0
    if not (names or args.weights or args.datasets):
        print("Error: nothing to do: name datasets, or give --all, --list or --weights; --help tells more", file=sys.stderr)
        return 2
    failures = prepare_all([table[name] for name in names], args, root) + fetch_weights(args.weights)
    for failure in failures:
        print(f"Error: {failure}", file=sys.stderr)
    is_sound = examine(names, root, args.counts) if names else True
    return 0 if is_sound and not failures else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help="names as in configs/datasets")
    parser.add_argument(
        "--root", default=os.environ.get("DATA") or str(REPO / "data"), help="the data folder (default: $DATA, else data/ in the clone)"
    )
    parser.add_argument("--all", action="store_true", help="every dataset of the table")
    parser.add_argument("--list", action="store_true", help="show the datasets, their licences, sizes and sources, and what is there")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME", help="CLIP weights, as MODEL.BACKBONE.NAME takes them, such as ViT-B/16"
    )
    parser.add_argument(
        "--from", dest="by_hand", type=Path, metavar="FOLDER", help="a folder of archives fetched by hand, which are left as they are"
    )
    parser.add_argument("--force", action="store_true", help="fetch again and replace what is there")
    parser.add_argument("--keep-archives", action="store_true", help="keep downloaded archives in .downloads of the data folder")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="another table of published counts, for tools/doctor.py")
    parser.add_argument("--sources", type=Path, default=TABLE_PATH, metavar="FILE", help="another table of sources")
    return parser


def _known(name: str, table: dict[str, Dataset]) -> str:
    """The table's name for a dataset; DRAWN's are said to need nothing.

    Raises:
        PrepareError: there is no such dataset.
    """
    if name in DRAWN:
        print(DRAWN[name])
        return name
    plain = {known.replace("_", "").lower(): known for known in table}
    found = plain.get(name.replace("_", "").replace("-", "").lower())
    if found is None:
        near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise PrepareError(f"unknown dataset {name!r}.{hint} Known: {', '.join(table)}")
    return found


def prepare_all(datasets: list[Dataset], args: argparse.Namespace, root: Path) -> list[str]:
    """Prepare each dataset; gives what could not be done."""
    from preparation.prepare import Wishes, prepare

    wishes = Wishes(root, args.by_hand, args.force, args.keep_archives)
    failures = []
    for dataset in datasets:
        try:
            prepare(dataset, wishes)
        except PrepareError as e:
            failures.append(str(e))
    return failures


def fetch_weights(names: Sequence[str]) -> list[str]:
    """Fetch CLIP weights and read them, as a run would; gives what could not be done."""
    if not names:
        return []
    from clip import weights

    failures = []
    for name in names:
        try:
            n_parameters = sum(p.numel() for p in weights.load(name).parameters())
            print(f"{name}: {weights.find_local(name)}, whole, {n_parameters:,} parameters", flush=True)
        except (OSError, ValueError) as e:  # of OSError: not found, no room
            failures.append(f"{name}: {e}")
    return failures


def in_gb(n_bytes: int) -> str:
    """Bytes in GB, or MB below one (powers of 1,000, as in docs/DATASETS.md)."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.0f} MB"


def download_size(dataset: Dataset) -> str:
    """How large a dataset's download is, as far as the table of sources knows."""
    if dataset.archives_of_unknown_size():
        return f"{in_gb(dataset.known_bytes())} and more" if dataset.known_bytes() else "not known"
    return in_gb(dataset.known_bytes())


def show(table: dict[str, Dataset], root: Path, chosen: Sequence[str]) -> None:
    """Print the table of datasets, and of those in ``chosen`` every source in the order in which they are tried."""
    from rich.console import Console
    from rich.table import Table

    from preparation.prepare import missing

    shown = Table(title=f"Datasets, and what is in {root}", title_justify="left")
    for column in ("dataset", "folder", "download", "licence", "state", "page"):
        shown.add_column(column, overflow="fold")
    lacking = {dataset.name: missing(dataset, root) for dataset in table.values()}
    for dataset in table.values():
        absent = lacking[dataset.name]
        there = f"lacks {', '.join(absent)}" if absent else "there"
        shown.add_row(dataset.name, dataset.folder, download_size(dataset), dataset.licence, there, dataset.page)
    console = Console()
    (console if console.is_terminal else Console(width=250)).print(shown)
    in_all, to_come = (in_gb(sum(table[name].known_bytes() for name in names)) for names in (table, [n for n in table if lacking[n]]))
    unknown = ", ".join(dataset.name for dataset in table.values() if dataset.archives_of_unknown_size()) or "none"
    print(f"Downloads of known size: {in_all} in all, {to_come} for what is not all there. Size not known: {unknown}")
    for name in chosen:
        print(f"\n{name}" + (f" ({table[name].note})" if table[name].note else ""))
        for file in table[name].files:
            print(f"  {file.name}{', not needed by the readers' if file.is_optional else ''}")
            print("\n".join(f"    {source}{', by hand' if source.way == 'by_hand' else ''}" for source in file.sources))
    if not chosen:
        print("Where each comes from: python tools/prepare.py --list DATASET …, or preparation/sources.yaml")


def examine(names: list[str], root: Path, counts: Path | None) -> bool:
    """Let the doctor look at the datasets; whether all is sound."""
    from tools import doctor

    return doctor.main([*names, "--root", str(root), *(["--counts", str(counts)] if counts else [])]) == 0


def interrupt_by_signals() -> list[int]:
    """Let Ctrl-C, and SIGUSR1, by which a launcher passes on what came to its shell, raise KeyboardInterrupt.

    Both may come of one cause, so that the second of them is passed over; Ctrl-C once more is obeyed.

    Returns:
        the signals that came, filled as they come.
    """
    came: list[int] = []

    def interrupt(signum: int, _frame: object) -> None:
        came.append(signum)
        if len(came) == 1 or (signum == signal.SIGINT and came.count(signum) > 1):
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
    return came


if __name__ == "__main__":
    signals = interrupt_by_signals()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nInterrupted; what has come is kept, and the same command goes on from there.", file=sys.stderr)
        sys.exit(130 if signals[:1] == [signal.SIGINT] else 143)
