"""How long runs take: as finished runs of the same method and dataset took, else from stated assumptions."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .plan import Run
from .protocols import REPO


class Size(NamedTuple):
    """Classes and test pictures of a dataset."""

    n_classes: int
    n_test: int


# The figures at the head of each file in configs/datasets (tests/sweeps/test_slots_and_estimates.py holds the two against each other).
SIZES = {
    "caltech101": Size(100, 2_465),
    "dtd": Size(47, 1_692),
    "eurosat": Size(10, 8_100),
    "fgvc_aircraft": Size(100, 3_333),
    "food101": Size(101, 30_300),
    "imagenet": Size(1_000, 50_000),
    "imagenet_a": Size(200, 7_500),
    "imagenet_r": Size(200, 30_000),
    "imagenet_sketch": Size(1_000, 50_889),
    "imagenetv2": Size(1_000, 10_000),
    "oxford_flowers": Size(102, 2_463),
    "oxford_pets": Size(37, 3_669),
    "shapes": Size(24, 1_440),
    "stanford_cars": Size(196, 8_041),
    "sun397": Size(397, 19_850),
    "ucf101": Size(101, 3_783),
}
UNKNOWN_SIZE = Size(100, 5_000)  # a dataset of one's own: our choice, the order of the eleven


class Speed(NamedTuple):
    """An assumption: seconds of a training step, what each class adds to it, of a test picture, and of starting a run."""

    name: str
    step: float
    per_class: float
    picture: float
    start: float


# docs/BENCHMARKS.md: a step takes 0.04 to 0.05 s on an H100 for up to 1,000 classes; on two CPU cores 1.23 s with 5 classes and 4.59 s with 1,000, and a test
# picture 0.17 s. On a GPU decoding sets the pace of testing: 500 pictures a second and 20 s to start are our guess. Tiny-Shapes: docs/SHAPES.md, 12 s for 240
# steps on two cores.
GPU = Speed("a GPU", 0.05, 0.0, 0.002, 20)
CPU = Speed("two CPU cores", 1.2, 0.0034, 0.17, 15)
TINY_SHAPES = Speed("two CPU cores and the small CLIP", 0.05, 0.0, 0.003, 6)
BATCH_IN_STEP = 4  # pictures in the steps that were timed; of a larger batch, each adds a tenth of such a step (CoOp's 32; our guess)
PER_PICTURE_TEXT = {"CoCoOp": 8.0}  # CoCoOp encodes the class prompts once a picture: times the plain test time (our guess)


class Estimate(NamedTuple):
    """Seconds of one run, and whether finished runs or assumptions give them."""

    seconds: float
    is_measured: bool


@dataclass(frozen=True)
class Work:
    """What a run does, as far as time goes."""

    n_classes: int
    n_steps: int
    batch_size: int
    n_epochs: int
    n_test: int
    backbone: str


class Estimator:
    """Estimates seconds of runs.

    Args:
        runs: all runs of a sweep; the finished ones are what is measured, with other seeds' in the folders beside them.
        has_gpu: whether runs are made on a GPU.
    """

    def __init__(self, runs: Iterable[Run], has_gpu: bool) -> None:
        self.has_gpu = has_gpu
        self._measured: dict[Path, list[float]] = {}  # group of runs that differ in their seed -> seconds an epoch, or of the test
        self._ratios: dict[str, list[float]] = {}  # method -> measured / assumed
        for path, run in {path: one for one in runs for path in _results_beside(one)}.items():
            self._learn(run, path)

    def learn(self, run: Run) -> None:
        """Take the time of ``run``, which has just been finished."""
        self._learn(run, run.run_dir / "result.json")

    def _learn(self, run: Run, result_path: Path) -> None:
        result = _read_result(result_path)
        if result.get("finished"):
            trained, tested = (float(result.get(key) or 0.0) for key in ("train_seconds", "test_seconds"))
            self._add(run, trained + tested, int(result.get("epochs_done") or 0))

    def _add(self, run: Run, seconds: float, n_epochs: int) -> None:
        """``run``, or one that differs in its seed, took ``seconds`` beside its start, for ``n_epochs``."""
        work, speed = work_of(run), self._speed(run)
        of_all = work.n_epochs / n_epochs if n_epochs and work.n_epochs else 1.0
        self._measured.setdefault(_group(run), []).append(seconds * of_all + speed.start)
        assumed = self._assume(run) - speed.start
        if assumed > 0:
            self._ratios.setdefault(run.launch.method, []).append(seconds * of_all / assumed)

    def estimate(self, run: Run) -> Estimate:
        """Seconds that ``run`` takes from its start."""
        measured = self._measured.get(_group(run))
        if measured:
            return Estimate(statistics.mean(measured), True)
        ratios = self._ratios.get(run.launch.method) or [ratio for all_of in self._ratios.values() for ratio in all_of]
        start = self._speed(run).start
        return Estimate(start + (self._assume(run) - start) * (statistics.median(ratios) if ratios else 1.0), False)

    def assumptions(self, runs: Iterable[Run]) -> list[str]:
        """What the estimates of ``runs`` that are not measured stand on, in sentences; empty if all are measured."""
        speeds = {self._speed(run) for run in runs if not self.estimate(run).is_measured}
        told = [
            f"{speed.step} s a training step of {BATCH_IN_STEP} pictures"
            + (f" and {1000 * speed.per_class:g} ms for each class" if speed.per_class else "")
            + f", {speed.picture} s a test picture, {speed.start:g} s to start ({speed.name}; docs/BENCHMARKS.md)"
            for speed in sorted(speeds)
        ]
        if told and self._ratios:
            told.append("scaled by how finished runs compare with these assumptions")
        return told

    def _speed(self, run: Run) -> Speed:
        return TINY_SHAPES if work_of(run).backbone == "Tiny-Shapes" else GPU if self.has_gpu else CPU

    def _assume(self, run: Run) -> float:
        work, speed = work_of(run), self._speed(run)
        step = speed.step * (1 + max(0, work.batch_size - BATCH_IN_STEP) / (10 * BATCH_IN_STEP)) + work.n_classes * speed.per_class
        return speed.start + work.n_steps * step + work.n_test * speed.picture * PER_PICTURE_TEXT.get(run.launch.method, 1.0)


def work_of(run: Run) -> Work:
    """What ``run`` does, by its config, its settings and the size of its dataset."""
    launch = run.launch
    size = SIZES.get(launch.dataset, UNKNOWN_SIZE)
    half = 0.5 if launch.part in ("base", "new") else 1.0
    setting = _settings_of(run)
    n_epochs, batch_size = int(setting("OPTIM.MAX_EPOCH", 1)), int(setting("DATALOADER.TRAIN_X.BATCH_SIZE", 32))
    n_classes, n_test = round(size.n_classes * half), round(size.n_test * half)
    if launch.is_zero_shot or run.train_dir is not None:  # a test alone
        return Work(n_classes, 0, batch_size, 0, n_test, str(setting("MODEL.BACKBONE.NAME", "")))
    n_pictures = n_classes * launch.shots
    return Work(
        n_classes, n_epochs * max(1, n_pictures // batch_size), batch_size, n_epochs, n_test, str(setting("MODEL.BACKBONE.NAME", ""))
    )


def _settings_of(run: Run) -> Callable[[str, Any], Any]:
    """A look-up of the run's settings: of its launcher's pairs, else of its config, else the given default."""
    given = dict(run.launch.settings)
    config = _read_config(run.config_path)

    def look_up(key: str, default: Any) -> Any:
        node: Any = config
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return given.get(key, default if node is None else node)

    return look_up


@cache
def _read_config(config_path: str) -> dict[str, Any]:
    return yaml.safe_load((REPO / config_path).read_text(encoding="utf-8")) or {}


def _group(run: Run) -> Path:
    return run.run_dir.parent if run.run_dir.name.startswith("seed") else run.run_dir


def _results_beside(run: Run) -> list[Path]:
    if run.run_dir.name.startswith("seed"):
        return sorted(run.run_dir.parent.glob("seed*/result.json"))
    return [path] if (path := run.run_dir / "result.json").is_file() else []


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}
