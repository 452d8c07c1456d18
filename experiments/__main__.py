"""Runs, tables and figures of the papers' protocols:  python -m experiments VERB --method METHOD ...

The launchers of scripts/ call the verbs that make runs. These read from the environment:
  DATA          folder of the datasets (default: data/ in the clone)
  OUTPUT        folder of the runs (default: output/ in the clone)
  SHOTS         training images a class, or all (default: 16; of few_shot 1, 2, 4, 8 and 16)
  CFG           name of a config in configs/trainers/<method> (default: tiny_shapes for the dataset shapes,
                else what configs/protocols/<method>.yaml says)
  SOURCE        the dataset that xd_test, dg_test and eval take the training of (default: imagenet)
  AUTO_PREPARE  1: fetch a dataset that is missing, without asking
"""

import argparse
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from .arguments import PAPER_METHODS, VERBS, runs_of
from .facts import REPO
from .run import Run, check, state

# What imports torch is imported where it is needed, so that --help answers at once.

LISTS = {
    "--protocols": "of base2new,xd,dg,fewshot (default: all that have runs)",
    "--methods": "such as MPL,MaPLe (default: those found)",
    "--datasets": "such as EuroSAT,oxford_pets, or all for those of the papers (default: those found)",
    "--seeds": "that each figure should rest on, such as 1,2,3 (default: those found)",
}


def build_parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="experiments", description=__doc__, formatter_class=raw)
    subparsers = parser.add_subparsers(required=True, metavar="VERB")
    for verb, (words, text) in VERBS.items():
        usage = f"bash scripts/METHOD/{verb}.sh {words} [KEY VALUE ...] [--force]"
        about = f"{text}. DATASET and SEED may be lists such as 1,2,3, or all."
        sub = subparsers.add_parser(verb, help=text, description=about, usage=usage, allow_abbrev=False)
        add = sub.add_argument
        add("words", nargs="*", metavar="WORD", help=f"{words}, then pairs such as OPTIM.LR 0.001")
        default = PAPER_METHODS if verb == "reproduce" else None
        add("--method", "--methods", default=default, required=not default, help="such as MPL,CoOp, or all")
        add("--force", action="store_true", help="move aside what is there, and start afresh")
        add("--plan", action="store_true", help="print the runs, their states and what is missing, and stop")
        add("--jobs", type=int, default=1, help="runs at once on the CPU")
        add("--gpus", type=listed, default=[], help="GPUs such as 0,1,2, with one run at a time each")
        add("--slurm", default="", metavar="A=B,...", help="job array: partition=gpu,time=4:00:00,gpus=1")
        add("--runs-per-job", type=int, default=8, help="how many runs one job of Slurm makes (default: 8)")
        add("--wait", action="store_true", help="with --slurm: return when the jobs have ended")
        add("--grid", nargs="+", default=[], metavar="KEY=A,B", help="every combination, in OUTPUT/grid")
        add("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=run_verb, verb=verb)

    status = subparsers.add_parser("status", help="what of an output folder is finished, running or queued")
    status.add_argument("folder", type=Path, help="of runs; everything below is read")
    status.set_defaults(run=call("slurm", "print_status"))

    table = subparsers.add_parser("table", help="make the papers' tables from finished runs")
    add = table.add_argument
    add("--format", choices=("text", "markdown", "latex", "csv", "html"), default="text")
    add("--out", type=Path, help="file to write (default: the terminal)")
    add("--figures", type=Path, metavar="FOLDER", help="also draw every figure that the runs allow")
    add("folders", nargs="+", type=Path, help="of runs; everything below is read")
    for option, text in LISTS.items():
        add(option, type=listed, default=[], metavar="A,B", help=text)
    add("--pivot", nargs="?", type=listed, const=[], metavar="A,B", help="two settings of a grid")
    add("--metric", default="", help="of a pivot: base, new, H, accuracy or such as 16-shot")
    table.set_defaults(run=call("tables", "write_tables"))

    schedule = subparsers.add_parser("schedule", help="show the prompts of each layer of a config or a run")
    text = "a config in a folder named by its method, or the folder of a run; then KEY VALUE pairs"
    schedule.add_argument("words", nargs="+", metavar="CONFIG", help=text)
    schedule.add_argument("--out", type=Path, help="file of the picture: .png, .svg or .pdf")
    schedule.set_defaults(run=call("schedule", "show"))

    logs = subparsers.add_parser("logs", help="average what the log.txt of several seeds say, as CoOp does")
    logs.add_argument("directory", type=Path, help="holds a folder for each seed")
    logs.add_argument("--test-log", action="store_true", help="logs of --eval-only")
    logs.add_argument("--multi-exp", action="store_true", help="DIRECTORY holds several such folders")
    logs.add_argument("--ci95", action="store_true", help="95%% confidence interval, not standard deviation")
    logs.add_argument("--keyword", default="accuracy", help="accuracy (default), error or macro_f1")
    logs.set_defaults(run=call("logs", "print_means"))
    return parser


def call(module: str, function: str) -> Callable[[argparse.Namespace], None]:
    """A function of this room, imported when it is called: pandas and torch take seconds."""
    return lambda args: getattr(import_module(f"experiments.{module}"), function)(args)


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def print_plan(runs: Sequence[Run], data: Path, output: Path) -> None:
    """Prints each run with its state, and what is missing for those that are to be made."""
    width = max(len(run.title) for run in runs)
    states = {}
    for run in runs:
        states[run], differing = state(run, data, output)
        print(f"{run.title:{width}}  {states[run]:14}  {run.folder}")
        print("".join(f"    {line}\n" for line in differing), end="")
    print(f"{len(runs)} runs: {', '.join(f'{n} {found}' for found, n in Counter(states.values()).items())}")
    print_missing([run for run in runs if states[run] not in ("finished", "other settings")], data)


def print_missing(runs: Sequence[Run], data: Path) -> None:
    """Prints the datasets and weights that `runs` need and that are not here, and how to get them."""
    from clip.weights import find_local

    from .execution import missing_datasets

    if missing := missing_datasets(runs, data):
        command = f"python -m prepare fetch {' '.join(missing)} --root {shlex.quote(str(data))}"
        print(f"Not in {data}, or not all of it; to get them: {command}")
    backbones = dict.fromkeys(run.setting("MODEL.BACKBONE.NAME") for run in runs)
    lacking = [shlex.quote(name) for name in backbones if find_local(name) is None]
    if lacking:
        print(f"CLIP weights that are not here; to get them: python -m prepare weights {' '.join(lacking)}")


def run_verb(args: argparse.Namespace) -> int:
    """Plans the runs of a verb, and makes them."""
    folders = (os.environ.get(name) or REPO / name.lower() for name in ("DATA", "OUTPUT"))
    data, output = (Path(os.path.abspath(os.path.expanduser(folder))) for folder in folders)
    runs = runs_of(args)
    if args.plan:
        print_plan(runs, data, output)
        return 0
    from .execution import Place, make_all

    for run in {replace(run, seed=0, shots=0, training=None): run for run in runs}.values():
        check(run, data)
    place = Place(data, output, args.force, args.debug)
    if args.slurm:
        from .slurm import submit

        print_missing(runs, data)  # jobs cannot ask, and may have no network
        status = submit(runs, place, args.slurm, args.runs_per_job, args.wait)
    else:
        status = make_all(runs, place, len(args.gpus) or args.jobs, args.gpus)
    if args.verb == "reproduce" and status in (0, 1) and (args.wait or not args.slurm):
        table = ["table", str(output), "--protocols", "base2new,xd"]
        page = [*table, "--format", "html", "--out", str(output / "results.html")]
        main(table)
        main([*page, "--figures", str(output / "figures")])
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    launched_from = os.environ.pop("LAUNCHED_FROM", "")  # the folder from which a launcher was started
    if launched_from:
        os.chdir(launched_from)
    args, more = build_parser().parse_known_args(argv)
    unknown = [word for word in more if word.startswith("--") or not hasattr(args, "words")]
    if unknown:
        print(f"Error: unknown option {' '.join(unknown)}; --help lists the options", file=sys.stderr)
        return 2
    if more:
        args.words += more  # argparse puts words behind an option in `more`
    from dassl.command import run_command

    return run_command(lambda: args.run(args), debug=getattr(args, "debug", False))


if __name__ == "__main__":
    sys.exit(main())
