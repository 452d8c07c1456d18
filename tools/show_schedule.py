#!/usr/bin/env python3
"""Show how many prompts each layer of both towers carries, loses and gains under a config, and draw it.

    python tools/show_schedule.py --config-file configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml [KEY VALUE …] [--out schedule.svg]

The schedules are those that a run of the config builds, with the same checks; no weights, no data and no GPU are needed. The method is the folder's
name of the config, if --trainer does not give it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import train

EXPECTED_ERRORS = (ValueError, TypeError, OSError, LookupError)  # what a setting, a name or a file can cause
KINDS = (".png", ".svg", ".pdf")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="the method's YAML file, one of configs/trainers/<Method>/")
    parser.add_argument("--trainer", help="the method; by default the name of the config's folder")
    parser.add_argument("--backbone", help="another CLIP than the config's (MODEL.BACKBONE.NAME)")
    parser.add_argument("--out", type=Path, help=f"file of the figure, {', '.join(KINDS)}")
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="settings, such as TRAINER.MPL.N_ADD_OP '[1,3,1]'")
    return parser


def show(args: argparse.Namespace) -> None:
    """Print the table, and draw the figure if a file is given.

    Raises:
        ValueError: a setting, a name or the kind of the file is not accepted.
    """
    from reporting.figures import save_as
    from reporting.schedule_figure import schedule_figure
    from reporting.schedules import build_schedules, schedule_rows
    from reporting.text import plain_table

    if args.out and args.out.suffix not in KINDS:
        raise ValueError(f"--out is {args.out}; the figure's file must end in {', '.join(KINDS)}")
    trainer = args.trainer or Path(args.config_file).resolve().parent.name
    arguments = [
        "--config-file",
        args.config_file,
        "--trainer",
        trainer,
        *(["--backbone", args.backbone] if args.backbone else []),
        *args.pairs,
    ]
    schedules = build_schedules(train.setup_cfg(train.build_parser().parse_args(arguments)))
    print(f"{schedules.method} on {schedules.backbone}{': ' if schedules.settings else ''}{schedules.settings}")
    for tower, schedule in schedules.towers:
        if schedule is None:
            print(f"{tower}: no learned prompts")
    heads, rows = schedule_rows(schedules)
    if rows:
        print(plain_table(heads, rows, n_words=0, is_terminal=sys.stdout.isatty()), end="")
    if args.out:
        save_as(schedule_figure(schedules), args.out)
        print(f"Drawn: {args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for an error that a setting or a file caused."""
    args = build_parser().parse_intermixed_args(argv)
    try:
        show(args)
    except EXPECTED_ERRORS as e:
        from dassl.engine.failures import message_of

        print(f"Error: {message_of(e)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
