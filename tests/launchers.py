"""Runs the launchers of scripts/ in a folder of their own, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
PUBLISHED = {"mpl": "MPL", "maple": "MaPLe", "ivlp": "IVLP", "vpt": "VPT", "coop": "CoOp", "cocoop": "CoCoOp", "promptsrc": "PromptSRC"}
OTHERS = [path.parent.name for path in sorted((REPO / "scripts").glob("*/settings.sh")) if path.parent.name not in (*PUBLISHED, "zsclip")]
METHODS = PUBLISHED | {
    name: re.findall(r"^TRAINER=(\w+)$", (REPO / f"scripts/{name}/settings.sh").read_text(), re.MULTILINE)[0] for name in OTHERS
}

Ran = subprocess.CompletedProcess


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Data, output and home in ``folder``, this Python, and nothing of the caller's settings."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return variables | {"DATA": str(folder / "data"), "OUTPUT": str(folder / "output")} | more


def run(folder: Path, command: str, cwd: Path = REPO, clone: Path = REPO, **more: str) -> Ran:
    """``bash scripts/COMMAND`` of ``clone`` with :func:`environment`."""
    script, *arguments = command.split()
    call = ["bash", str(clone / "scripts" / f"{script}.sh"), *arguments]
    return subprocess.run(call, cwd=cwd, env=environment(folder, **more), capture_output=True, text=True, timeout=300)


def succeeded(ran: Ran) -> str:
    """Its standard output; fails with all that it said."""
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return ran.stdout


def refused(ran: Ran, *parts: str) -> None:
    """It ended with status 2 and one message that has these parts."""
    assert ran.returncode == 2, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stderr.startswith(("Error: ", "\nError: "))
    for part in parts:
        assert part in ran.stderr, ran.stderr


# A stand-in for Python, which writes down the command lines for data and weights that are not here

STUB = """#!/bin/sh
case "$1" in *check_requirements.py) exit ;; esac
echo "$*"
[ "$1" = train.py ] || exit 0
until [ "$1" = --output-dir ]; do shift; done
mkdir -p "$2"
echo "$LAUNCH_SETTINGS" >"$2/settings.txt"
"""


def calls_of_stand_in(folder: Path, **common: Any) -> Callable[..., list[str]]:
    """What runs a launcher with the stand-in, and gives the lines that it printed: of each call of train.py its command line."""
    stand_in = folder / "python"
    stand_in.write_text(STUB)
    stand_in.chmod(0o755)

    def call(command: str, **more: Any) -> list[str]:
        return succeeded(run(folder, command, PYTHON=str(stand_in), **(common | more))).splitlines()

    return call


def finished_run(folder: Path, model: str, epoch: int) -> None:
    """What a finished training leaves, as far as launchers look."""
    (folder / model).mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text('{\n  "finished": true\n}\n')
    (folder / model / "checkpoint").write_text(f"model.pth.tar-{epoch}\n")
    (folder / model / f"model.pth.tar-{epoch}").touch()
