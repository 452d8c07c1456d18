#!/usr/bin/env python3
"""Fuzz one of the readers of files from the internet:  python tools/fuzz.py weights|checkpoint|split|lists [--minutes 10] [--seed 0] [--output DIR]

Real files are mutated and read in a process whose memory is bounded; findings (what they are: tests/hostile/fuzz_targets.py) are kept in DIR with the file that
shows them, and figures are printed. With --engine atheris, the default where atheris is installed, files that reach new code of a reader are kept in DIR and
mutated further; --engine mutations starts from the real files each time. With --replay FILE --as NAME, one file is read as the seed NAME is. Linux and macOS.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from tests.hostile.fuzz_atheris import fuzz_covered, last_coverage  # noqa: E402

if TYPE_CHECKING:  # importing torch takes seconds, and only the process that reads needs it
    from tests.hostile.fuzz_targets import Seed, Target

MEMORY_BYTES = 2 << 30
"""What reading one file may take beyond what the process takes when it starts; our choice: the files have at most 1 MiB."""

SLOW_SECONDS = 10
"""Reading that takes longer, in seconds of the processor, is a finding; our choice: what is read whole takes some 10 ms."""

STUCK_SECONDS = 300
"""Reading that takes longer by the clock is a finding too; our choice, with room for a machine that does much other work."""

FORBIDDEN_EVENTS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "shutil.rmtree",
    "ctypes.dlopen",
)
"""Audit events (https://docs.python.org/3/library/audit_events.html) that reading a file never has."""


class Forbidden(BaseException):
    """Reading a file did what reading must not do; no reader can catch it as a documented error."""


class Watch:
    """An audit hook that, while `armed`, notes programs that are started and files that are opened elsewhere than in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.armed = False
        self.seen: list[str] = []
        self._read_from = (str(folder), sys.prefix, sys.base_prefix, str(REPO), "/proc/", "/sys/", "/dev/")
        self._folder = str(folder)
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event.startswith(FORBIDDEN_EVENTS):
            self.seen.append(f"{event}{arguments!r}"[:200])
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, mode = str(arguments[0]), str(arguments[1] or "r")
            if not path.startswith(self._folder if set(mode) & set("wax+") else self._read_from):
                self.seen.append(f"open({path!r}, {mode!r})"[:200])


def bound_memory() -> None:
    """Let this process take `MEMORY_BYTES` more than it takes now."""
    status = Path("/proc/self/statm")
    now = int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES,) * 2)


def signature_of(error: BaseException) -> str:
    """The same for two errors of one cause: the kind, and the last line of the project that they passed."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(REPO) in f.filename and "fuzz" not in f.filename]
    frames = frames or traceback.extract_tb(error.__traceback__)[-1:]
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    what = re.sub(r"[0-9,]+", "N", str(error))[:60] if isinstance(error, AssertionError | Forbidden) else ""
    return f"{type(error).__name__} {at} {what}".strip()


class Reader:
    """Reads mutated files one after the other in `folder`, and tells the pipe what is about to be read and what came of it."""

    def __init__(self, target: Target, folder: Path, pipe: Connection) -> None:
        from tests.hostile.fuzz_targets import try_one

        self._target, self._read_dir, self._pipe, self._try_one = target, folder / "read", pipe, try_one
        (folder / "seeds").mkdir(parents=True)
        self.seeds = target.make_seeds(folder / "seeds")
        for start in self.seeds:  # whole files are read, which also loads what the readers import on first use
            self._read_dir.mkdir(exist_ok=True)
            pipe.send(("outcome", start.name, f"unmutated, {try_one(target, start, start.content, self._read_dir)}", b""))
        self._watch = Watch(self._read_dir)

    def read(self, start: Seed, content: bytes) -> None:
        """Let the reader of `start` read `content`; nothing that goes wrong is raised, all of it is told."""
        self._pipe.send(("reading", start.name, "", content))
        shutil.rmtree(self._read_dir, ignore_errors=True)
        self._read_dir.mkdir()
        self._watch.seen.clear()
        self._watch.armed = True
        try:
            outcome = self._try_one(self._target, start, content, self._read_dir)
            self._watch.armed = False
            if self._watch.seen:
                raise Forbidden(self._watch.seen[0])
            self._pipe.send(("outcome", start.name, outcome, b""))
        except BaseException as error:  # everything that is not documented is what is looked for
            self._watch.armed = False
            if isinstance(error, KeyboardInterrupt):
                raise
            told = f"{signature_of(error)}\n{''.join(traceback.format_exception(error))[-4000:]}"
            self._pipe.send(("finding", start.name, told, b""))


def work(name: str, engine: str, seed: int, seconds: float, folder: Path, kept_dir: Path, pipe: Connection) -> None:
    """Read mutated files for some seconds, from when the first is read; what the engine keeps between processes goes to `kept_dir`."""
    import torch

    from tests.hostile.fuzz_targets import TARGETS, mutated

    torch.set_num_threads(1)
    reader = Reader(TARGETS[name], folder, pipe)
    if engine == "atheris":
        bound_memory()
        fuzz_covered(reader.seeds, reader.read, seed, seconds, kept_dir, at_end=lambda: pipe.send(("end", "", "", b"")))
    rng, until = random.Random(seed), time.time() + seconds
    bound_memory()
    while time.time() < until:
        start = rng.choice(reader.seeds)
        reader.read(start, mutated(start, rng))
    pipe.send(("end", "", "", b""))


class Findings:
    """Distinct findings, each kept as the file that shows it and a text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()

    def add(self, seed_name: str, told: str, content: bytes) -> None:
        """Count a finding, and keep the file of the first of its kind."""
        signature = told.splitlines()[0]
        self.counts[signature] += 1
        if self.counts[signature] > 1:
            return
        print(f"FINDING in {seed_name}: {signature}", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"{seed_name}-{hashlib.sha256(content).hexdigest()[:12]}"
        (self.folder / f"{stem}.bin").write_bytes(content)
        (self.folder / f"{stem}.txt").write_text(told, encoding="utf-8", errors="replace")


def fuzz(name: str, engine: str, minutes: float, seed: int, output_dir: Path) -> dict[str, Any]:
    """Fuzz one target; a process that dies or hangs is a finding, and another takes over.

    Args:
        name: a key of `TARGETS`.
        engine: "atheris" or "mutations".
        minutes: how long.
        seed: of the mutations.
        output_dir: findings and what the engine keeps go to its folder `name`.

    Returns:
        figures: executions, how many were read and refused, how often each distinct finding came, and what atheris printed of coverage last.
    """
    context = multiprocessing.get_context("spawn")
    begun, left = time.time(), 60 * minutes
    outcomes: Counter[str] = Counter()
    findings, n_processes = Findings(output_dir / name), 0
    while left > 0:
        started = time.time()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=work, args=(name, engine, seed + n_processes, left, Path(folder), output_dir / name, theirs))
            child.start()
            theirs.close()
            n_processes += 1
            told = _follow(child, ours, outcomes, findings)
            child.kill()
            child.join()
        left = 0 if told == "end" else left - (time.time() - started)
    return {
        "target": name, "engine": engine, "seed": seed, "seconds": round(time.time() - begun), "executions": sum(outcomes.values()),
        "outcomes": dict(outcomes), "findings": dict(findings.counts), "processes": n_processes, "versions": versions(engine),
        **({"coverage": last_coverage(output_dir / name)} if engine == "atheris" else {}),
    }  # fmt: skip


def _follow(child: Any, pipe: Connection, outcomes: Counter[str], findings: Findings) -> str:
    """Count what a process tells until it ends, dies or hangs; gives the last word."""
    seed_name, content = "", b""
    while True:
        try:
            if not _answers(child, pipe, patient=not seed_name):
                findings.add(seed_name, f"more than {SLOW_SECONDS} s of work", content)
                outcomes["finding"] += 1
                return "hang"
            kind, name, told, data = pipe.recv()
        except EOFError:
            child.join()
            cause = signal.Signals(-child.exitcode).name if child.exitcode and child.exitcode < 0 else f"exit {child.exitcode}"
            findings.add(seed_name, f"the process ended: {cause}", content)
            outcomes["finding"] += 1
            return "died"
        if kind == "end":
            return kind
        if kind == "reading":
            seed_name, content = name, data
            continue
        outcomes["finding" if kind == "finding" else told] += 1
        if kind == "finding":
            findings.add(name, told, content)


def _answers(child: Any, pipe: Connection, patient: bool) -> bool:
    """Wait for the process's next word, until it has worked for `SLOW_SECONDS` or is stuck; `patient` while it starts."""
    worked = _cpu_seconds(child.pid)
    for _ in range(STUCK_SECONDS):
        if pipe.poll(1):
            return True
        if not patient and _cpu_seconds(child.pid) - worked > SLOW_SECONDS:
            return False
    return False


def _cpu_seconds(pid: int) -> float:
    """Seconds that a process has worked, where /proc says so; else the time, which counts waiting as well."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.time()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def versions(engine: str) -> dict[str, str]:
    """Versions of what reads the files, and of what mutates them."""
    from importlib.metadata import version

    packages = ["torch", "safetensors", *(["atheris"] if engine == "atheris" else [])]
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def replay(name: str, path: Path, seed_name: str) -> None:
    """Read one file as the named seed of a target is read; raises what its reader raises."""
    from tests.hostile.fuzz_targets import TARGETS, try_one

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seeds").mkdir()
        seeds = {seed.name: seed for seed in TARGETS[name].make_seeds(Path(folder) / "seeds")}
        print(try_one(TARGETS[name], seeds[seed_name], path.read_bytes(), Path(folder)))


def main() -> int:
    """Run the command line; exit status 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=("weights", "checkpoint", "split", "lists"))
    parser.add_argument("--engine", choices=("atheris", "mutations"), help="default: atheris where it is installed")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/fuzz"), help="where findings are kept")
    parser.add_argument("--replay", type=Path, help="read this file alone")
    parser.add_argument(
        "--as", dest="seed_name", help="with --replay: the seed whose reader reads it, the first part of a finding's file name"
    )
    args = parser.parse_args()
    if args.replay:
        replay(args.target, args.replay, args.seed_name)
        return 0
    has_atheris = importlib.util.find_spec("atheris") is not None
    if args.engine == "atheris" and not has_atheris:
        parser.error(
            f"atheris is not installed for Python {platform.python_version()}: `pip install atheris` (it is built for some versions of Python on Linux, "
            "3.11 to 3.13 at 3.0.0), or --engine mutations, which needs nothing"
        )
    figures = fuzz(args.target, args.engine or ("atheris" if has_atheris else "mutations"), args.minutes, args.seed, args.output.resolve())
    print(json.dumps(figures, indent=1))
    return 1 if figures["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
