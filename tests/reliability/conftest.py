"""Real runs of train.py, started quickly, on a small EuroSAT and a small CLIP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dassl.utils import load_checkpoint
from tests.trainers.small_runs import SIZES, write_eurosat, write_weights

REPO = Path(__file__).parents[2]
NOT_OF_THE_RUN = ("started", "ended", "train_seconds", "test_seconds")  # times
NOT_OF_THE_RUN += ("commit", "modified")  # of the source tree, which may change under the tests, or which git is too busy to tell


class Started:
    """A run that has been started.

    Attributes: `pid`, and `path`, the file that gets its standard output and its standard error.
    """

    def __init__(self, server: RunServer, pid: int, path: Path) -> None:
        self.server, self.pid, self.path = server, pid, path

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def wait(self, seconds: float = 90) -> int:
        """Its exit status; -N for signal N."""
        return self.server.ask({"wait": self.pid, "seconds": seconds})["status"]

    def wait_for(self, words: str, seconds: float = 60) -> None:
        """Return when it has printed `words`."""
        give_up = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < give_up, f"{words!r} is not printed: {self.text}"
            time.sleep(0.002)

    def send(self, signum: int, to_all: bool = False) -> None:
        """Send a signal to it, or to it and its loading processes."""
        (os.killpg if to_all else os.kill)(self.pid, signum)


class RunServer:
    """The process of run_server.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
        command = [sys.executable, "-m", "tests.reliability.run_server"]
        self.process = subprocess.Popen(command, cwd=REPO, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, arguments: list[str], output: Path, **options: Any) -> Started:
        """Start train.py with `arguments`; see run_server.py for the options."""
        return Started(self, self.ask({"start": arguments, "output": str(output), **options})["pid"], output)


@dataclass
class Bench:
    """Starts runs of one kind: `start(folder, *options)` for MPL on the small EuroSAT, in `folder`."""

    server: RunServer
    data: Path
    weights: Path
    logs: Path

    def start(self, folder: Path, *pairs: Any, method: str = "MPL", flags: tuple[str, ...] = (), **options: Any) -> Started:
        """Start a run of three epochs of five steps, each printed, that tests on val after every epoch."""
        self.logs.mkdir(exist_ok=True)
        settings = ["INPUT.SIZE", "(32, 32)", "INPUT.TRANSFORMS", "('random_resized_crop', 'random_flip', 'normalize')"]
        settings += [
            "DATALOADER.NUM_WORKERS",
            0,
            "DATALOADER.TRAIN_X.BATCH_SIZE",
            4,
            "OPTIM.NAME",
            "sgd",
            "OPTIM.LR",
            0.01,
            "OPTIM.MAX_EPOCH",
            3,
        ]
        settings += ["OPTIM.LR_SCHEDULER", "cosine", "TRAIN.PRINT_FREQ", 1, "TEST.FINAL_MODEL", "best_val"]
        depths = ["PROMPT_DEPTH"] if method == "MPL" else ["PROMPT_DEPTH_VISION", "PROMPT_DEPTH_TEXT"]
        settings += [f"TRAINER.{method.upper()}.PREC", "fp32", *(x for key in depths for x in (f"TRAINER.{method.upper()}.{key}", 3))]
        arguments = ["--root", self.data, "--trainer", method, "--backbone", self.weights, "--output-dir", folder, "--seed", 1, *flags]
        arguments += ["--dataset-config-file", "configs/datasets/eurosat.yaml", *settings, *pairs]
        output = self.logs / f"{time.monotonic_ns()}.txt"
        return self.server.start([str(argument) for argument in arguments], output, **options)

    def run(self, folder: Path, *pairs: Any, **options: Any) -> tuple[int, str]:
        """Start a run and wait for its end: its exit status and what it printed."""
        run = self.start(folder, *pairs, **options)
        return run.wait(), run.text


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, apart from times and from where it stands: what must not depend on how often it was stopped."""
    checkpoints = {str(p.relative_to(folder)): load_checkpoint(str(p)) for p in sorted(folder.glob("*/model*.pth.tar*"))}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    result["loaded_from"] = {name: os.path.relpath(path, folder) for name, path in result["loaded_from"].items()}
    result["config"]["OUTPUT_DIR"] = result["config"]["DATALOADER"]["NUM_WORKERS"] = None
    return {
        "checkpoints": checkpoints,
        "metrics": [{k: v for k, v in line.items() if not k.endswith("_time")} for line in lines],
        "result": {k: v for k, v in result.items() if k not in NOT_OF_THE_RUN},
        "files": sorted(
            str(p.relative_to(folder)) for p in folder.rglob("*") if "tensorboard" not in str(p) and not p.name.startswith("log.txt")
        ),
    }


@pytest.fixture(scope="session")
def server() -> Iterator[RunServer]:
    """One run_server.py for all tests of a process."""
    server = RunServer()
    yield server
    server.process.stdin.close()
    try:
        server.process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def bench(server: RunServer, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Data, weights, and a way to start runs on them."""
    folder = tmp_path_factory.mktemp("bench")
    folder.chmod(0o755)
    return Bench(server, write_eurosat(folder / "data"), write_weights(folder / "narrow.pt", SIZES["narrow"]), folder / "logs")


@pytest.fixture(scope="session")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that is never stopped: its outcome, its `seconds`, and `n_writes`, how often a file became permanent."""
    folder = tmp_path_factory.mktemp("whole")
    start = time.monotonic()
    status, text = bench.run(folder / "run", writes=str(folder / "writes.txt"))
    assert status == 0, text
    return {**outcome(folder / "run"), "seconds": time.monotonic() - start, "n_writes": int((folder / "writes.txt").read_text())}
