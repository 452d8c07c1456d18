"""Runs as jobs of Slurm, through submitit; and which runs of a folder are finished, running or queued."""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError
from submitit.helpers import Checkpointable, DelayedSubmission

from dassl.record import hold_folder, is_held, read_result

from .execution import Place, chains, make_all
from .facts import REPO
from .run import Run, state

JOBS = "slurm/jobs.jsonl"  # below the output folder: a line a job, with the folders of its runs
SHORT_NAMES = {"gpus": "gpus_per_node", "cpus": "cpus_per_task"}
SECONDS_BETWEEN_LOOKS = 10


@dataclass
class Job(Checkpointable):
    """What one job makes; submitit requeues it at its time limit or when it is preempted."""

    runs: Sequence[Run]
    place: Place

    def __call__(self) -> None:
        if status := make_all(self.runs, self.place):
            sys.exit(status)  # Slurm marks the job as failed

    def checkpoint(self) -> DelayedSubmission:
        """The same job again: finished runs are skipped, and the one that is cut short resumes."""
        if parent_process():  # Slurm signals the processes that load images, too
            sys.exit()
        return DelayedSubmission(self)


def parameters_of(text: str) -> dict[str, Any]:
    """The parameters of submitit's SlurmExecutor in `partition=gpu,time=4:00:00,gpus=1`."""
    pairs = dict(part.partition("=")[::2] for part in text.split(","))
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):\d\d|(\d+)", pairs.get("time", ""))
    if not clock or not all(pairs.values()):
        raise ValueError(f"--slurm takes partition=gpu,time=4:00:00,gpus=1 or the like; received {text!r}")
    found: dict[str, Any] = {}
    for name, value in pairs.items():
        found[SHORT_NAMES.get(name, name)] = int(value) if value.isdecimal() else value
    days, hours, minutes, all_minutes = (int(part or 0) for part in clock.groups())
    found["time"] = all_minutes or (24 * days + hours) * 60 + minutes  # submitit takes minutes
    return found


def submit(runs: Sequence[Run], place: Place, parameters: str, runs_per_job: int, waits: bool) -> int:
    """Submits the runs that are neither finished nor queued, as a job array; `waits` until no job is left.

    The exit status is 1 if a run is not finished after waiting.
    """
    if not shutil.which("sbatch"):
        raise ValueError("--slurm: there is no sbatch here; --gpus 0,1 or --jobs 2 make runs on this machine")
    queued = {folder: job for folder, (job, found) in submitted(place.output).items() if found}
    todo = []
    for run in runs:
        found, differing = state(run, place.data, place.output)
        if found == "other settings" and not place.force:
            raise ValueError("\n  ".join([f"{place.output / run.folder} has other settings:", *differing]))
        if run.folder not in queued and (place.force or found != "finished"):
            todo.append(run)
    if len(todo) < len(runs):
        print(f"{len(runs) - len(todo)} of {len(runs)} runs are finished or queued already")
    shares: list[list[Run]] = []
    for chain in chains(todo):
        if not shares or len(shares[-1]) + len(chain) > runs_per_job:
            shares.append([])
        shares[-1] += chain
    if place.force:  # once, and not when a job is requeued
        for run in todo:
            with hold_folder(str(place.output / run.folder), force=True):
                pass
    if todo:
        paths = filter(None, [str(REPO), os.environ.get("PYTHONPATH")])
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # jobs inherit it
        executor = SlurmExecutor(place.output / "slurm")
        due = {queued[run.training.folder] for run in todo if run.training and run.training.folder in queued}
        after = {"dependency": f"afterany:{':'.join(sorted(due))}"} if due else {}
        executor.update_parameters(job_name="experiments", **parameters_of(parameters) | after)
        try:
            jobs = executor.submit_array([Job(share, replace(place, force=False)) for share in shares])
        except FailedJobError as error:  # sbatch's own words, such as of a partition that it does not know
            raise ValueError(str(error)) from error
        with (place.output / JOBS).open("a", encoding="utf-8") as file:
            for job, share in zip(jobs, shares, strict=True):
                file.write(json.dumps({"job": job.job_id, "runs": [run.folder for run in share]}) + "\n")
        print(f"Submitted {len(todo)} runs in {len(jobs)} jobs: {', '.join(job.job_id for job in jobs)}")
        print(f"To see where they stand: python -m experiments status {shlex.quote(str(place.output))}")
    if not waits:
        return 0
    folders = {run.folder for run in runs}
    while any(found for folder, (_, found) in submitted(place.output).items() if folder in folders):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    unfinished = [run for run in runs if state(run, place.data, place.output)[0] != "finished"]
    print(f"{len(runs) - len(unfinished)} of {len(runs)} runs are finished")
    return int(bool(unfinished))


def submitted(output: Path) -> dict[str, tuple[str, str]]:
    """Folder -> the last job that it was submitted in, and the job's state; empty if Slurm has ended it."""
    if not (output / JOBS).is_file() or not shutil.which("squeue"):
        return {}
    call = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    states = dict(line.split() for line in told.splitlines())
    jobs = [json.loads(line) for line in (output / JOBS).read_text(encoding="utf-8").splitlines()]
    return {folder: (job["job"], states.get(job["job"], "")) for job in jobs for folder in job["runs"]}


def print_status(args: argparse.Namespace) -> None:
    """Prints the runs below a folder: finished, running, queued, and the others with the end of their log."""
    output = args.folder.resolve()
    if not output.is_dir():
        raise FileNotFoundError(f"{output} is no folder; give that of the runs, such as output")
    found: dict[str, list[str]] = {"finished": [], "running": [], "queued": [], "not finished": []}
    jobs = submitted(output)
    begun = {str(log.parent.relative_to(output)) for log in output.rglob("log.txt")}
    for folder in sorted({folder for folder in begun if ".old-" not in folder} | jobs.keys()):
        job, job_state = jobs.get(folder, ("", ""))
        log = output / (f"{folder}/log.txt" if folder in begun else f"slurm/{job}_0_log.err")
        if read_result(str(output / folder)).get("finished"):
            found["finished"].append(folder)
        elif folder in begun and is_held(str(output / folder)):
            found["running"].append(f"{folder}{last_lines(log, 1)}")
        elif job_state:
            found["queued"].append(f"{folder}: job {job} is {job_state}")
        else:
            found["not finished"].append(f"{folder}{last_lines(log, 3)}")
    for word, lines in found.items():
        print(f"{word}: {len(lines)}")
        if word != "finished":
            print("".join(f"  {line}\n" for line in lines), end="")


def last_lines(log: Path, n: int) -> str:
    """The last lines of a log that are not empty, each on a line of its own."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else f"there is no {log}"
    return "".join(f"\n    {line}" for line in [line for line in text.splitlines() if line.strip()][-n:])
