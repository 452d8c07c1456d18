"""The command line of tools/reproduce.py."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from tools.arguments import names, numbers

from . import grid, protocols, report
from .estimate import Estimator
from .needs import lines_of_what_is_missing
from .plan import Run, plan_runs, unique
from .protocols import PROTOCOLS, REPO, Choice, SweepError, check_choice, launches
from .runner import Outcome, Sweep
from .slots import Slot, make_slots, usable_cores, visible_gpus

T = TypeVar("T")
EXAMPLES = """
examples:
  python tools/reproduce.py base2new --methods ZeroshotCLIP,CoOp,CoCoOp,MaPLe,MPL --datasets all --seeds 1,2,3 --plan
  python tools/reproduce.py base2new,xd --methods MPL --gpus 0,1,2
  python tools/reproduce.py fewshot --methods MPL,CoOp --datasets eurosat,dtd --shots 1,4,16
  python tools/reproduce.py base2new --datasets shapes --jobs 2 --grid TRAINER.MPL.N_ADD_OP=1,2,3 TRAINER.MPL.N_RM_OP=0,1,2

Runs are made by the launchers of scripts/, stand where these put them, and are left alone where they are finished. Ctrl-C or a kill loses nothing: the
same command goes on. CFG, SHOTS, SOURCE and TRAINER of the environment, which launchers read, are options here.

Exit status: 0; 1 if a run failed; 2 if nothing was started because of what was asked for; 130 or 143 if the sweep was ended.
"""


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="tools/reproduce.py",
        description="Run what is missing of a paper's protocol.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("protocols", type=names(), metavar="PROTOCOL[,PROTOCOL…]", help=", ".join(PROTOCOLS))
    add("--methods", type=names(), default=("MPL",), help="such as ZeroshotCLIP,CoOp,MPL, or all (default: MPL)")
    add("--datasets", type=names(), default=("all",), help="such as eurosat,dtd; all (default): those of the protocol in the papers")
    add("--seeds", type=numbers(0), default=(1, 2, 3), help="default: 1,2,3")
    add("--shots", type=numbers(1), help="training pictures a class (default: 1,2,4,8,16 of fewshot, else 16)")
    add("--source", help="dataset that xd and dg train on (default: imagenet; shapes with --datasets shapes)")
    add("--cfg", help="name of a config that each of the methods has (default: each launcher's own choice)")
    add("--set", dest="settings", nargs="+", default=[], metavar="KEY=VALUE", help="settings for every run")
    add("--grid", nargs="+", default=[], metavar="KEY=A,B,C", help="every combination of these settings, each in OUTPUT/grid/KEY=VALUE,…")
    add("--root", type=Path, help="folder of the datasets (default: $DATA, else data/ in the clone)")
    add("--output", type=Path, help="folder of the runs (default: $OUTPUT, else output/ in the clone)")
    add("--jobs", type=int, help="runs at once (default: 1, or one on each of --gpus)")
    add("--gpus", type=names(), help="GPUs to use, one run at a time each, such as 0,1,2; none: the CPU alone")
    add("--plan", action="store_true", help="print the runs, what is finished, what is not on this machine and the hours to come, and stop")
    return parser


@dataclass(frozen=True)
class Plan:
    """What is to be done: the runs, and the grid points that were left out with the reason."""

    runs: list[Run]
    left_out: dict[str, str]


def choice_of(args: argparse.Namespace) -> Choice:
    """What the options ask for.

    Raises:
        SweepError: a name is unknown, or a setting has another form than KEY=VALUE.
    """
    methods = tuple(m for m in protocols.launcher_folders() if m not in protocols.OTHER_NAMES) if args.methods == ("all",) else args.methods
    datasets = None if args.datasets == ("all",) else args.datasets
    choice = Choice(methods, datasets, args.seeds, args.shots, args.source, args.cfg, grid.read_settings(args.settings))
    check_choice(choice, args.protocols)
    return choice


def make_plan(args: argparse.Namespace, root: Path, top_dir: Path) -> Plan:
    """The runs of all protocols and grid points.

    Raises:
        SweepError: what is asked for cannot be run: by a launcher's word, or because no grid point or a setting is accepted by the method.
    """
    choice = choice_of(args)
    points = grid.points(args.grid)
    if args.grid or args.settings:
        grid.check_keys(choice, points)
    runs: list[Run] = []
    left_out: dict[str, str] = {}
    for point in points:
        at_point = grid.at_point(choice, point)
        calls = [call for protocol in args.protocols for call in launches(protocol, at_point)]
        output_dir = top_dir / "grid" / point.name if point.name else top_dir
        found = plan_runs(calls, root, top_dir, output_dir, point.name)
        why = _refused(at_point, found, root) if at_point.settings else ""
        if why and not point.name:
            raise SweepError(f"--set: {why}")
        if why:
            left_out[point.name] = why
        else:
            runs += found
    if not runs:
        raise SweepError("no point of the grid can be run:\n" + "\n".join(f"{name}: {why}" for name, why in left_out.items()))
    return Plan(unique(runs), left_out)


def _refused(choice: Choice, runs: Iterable[Run], root: Path) -> str:
    """Why the first of the runs that cannot have the choice's settings cannot; each method's config is tried once."""
    tried = {(run.launch.method, run.config_path): run.launch.dataset for run in runs}
    found = (grid.refusal(choice, method, dataset, path, str(root)) for (method, path), dataset in tried.items())
    return next((why for why in found if why), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, and run what is missing.

    Returns:
        exit status: 0; 1 if a run failed or was left out; 2 if nothing was started because of what was asked for; 128 + N if signal N ended it.
    """
    args = build_parser().parse_args(argv)
    console = report.make_console()
    root = _folder(args.root, "DATA", "data")
    top_dir = _folder(args.output, "OUTPUT", "output")
    try:
        gpus = None if args.gpus is None else () if args.gpus == ("none",) else args.gpus
        seen = visible_gpus()
        if args.plan:  # which may be for another machine
            seen += [gpu for gpu in gpus or () if gpu not in seen]
        slots = make_slots(args.jobs, gpus, seen, usable_cores())
        plan = make_plan(args, root, top_dir)
    except SweepError as e:
        print(f"Error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    for name, why in plan.left_out.items():
        console.print(f"Left out: {name}: {why}", markup=False)
    estimator = Estimator(plan.runs, has_gpu=bool(seen) and gpus != ())
    if args.plan:
        lacking = lines_of_what_is_missing([run for run in plan.runs if run.state in ("missing", "unfinished")], root)
        report.print_plan(console, plan.runs, estimator, len(slots), lacking)
        report.print_tables_command(console, top_dir, bool(args.grid))
        return 0
    try:
        status = _run(console, plan, slots, root, estimator)
        report.print_tables_command(console, top_dir, bool(args.grid))
        return status
    except OSError as e:  # such as an output folder that cannot be written; the runs end by themselves
        print(f"Error: the sweep cannot go on: {e}", file=sys.stderr)
        return 2


def _folder(given: Path | None, variable: str, default: str) -> Path:
    """An option's folder, else an environment variable's, else the clone's; absolute."""
    named = given or (Path(os.environ[variable]) if os.environ.get(variable) else REPO / default)
    return Path(os.path.abspath(named.expanduser()))


def _run(console: Console, plan: Plan, slots: Sequence[Slot], root: Path, estimator: Estimator) -> int:
    n_there = sum(run.state == "finished" for run in plan.runs)
    told = report.make_report(console, len(plan.runs), n_there)
    with told:
        sweep = Sweep(plan.runs, slots, root, estimator, told)
        outcomes: list[Outcome] = sweep.run()
    report.print_summary(console, outcomes, len(plan.runs), n_there)
    if sweep.stop_signal is not None:
        return 128 + sweep.stop_signal
    return 1 if any(outcome.status in ("failed", "left out") for outcome in outcomes) else 0
