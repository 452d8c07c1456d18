"""A world with a stand-in for Python, and the command line of the sweep in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps import command
from tests.launchers import REPO, environment
from tests.sweeps.stand_in import StandIn


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, named by PYTHON; DATA and OUTPUT are in ``tmp_path``."""
    made = StandIn(tmp_path, sys.executable)
    for key, value in environment(tmp_path, PYTHON=str(made.path)).items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


@pytest.fixture
def reproduce(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """reproduce("base2new --seeds 1"): exit status, standard output and standard error of the command line."""

    def run(words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = command.main(words.split())
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """start("base2new …"): the command line in a process of its own, in the environment that the test has; killed at the end of the test if it lives."""
    started = []

    def begin(words: str) -> subprocess.Popen[str]:
        call = [sys.executable, str(REPO / "tools/reproduce.py"), *words.split()]
        started.append(subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def until() -> Callable[..., None]:
    """until(condition, what): wait until the condition holds; fails after some time, a minute by default, with what was waited for."""

    def wait(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain until {what}"
            time.sleep(0.03)

    return wait
