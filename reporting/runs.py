"""Reading what runs have left: one `Run` for each `result.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

RESULT_NAME = "result.json"
METRICS_NAME = "metrics.jsonl"
GRID_FOLDER = "grid"
CURVE_KEYS = ("epoch", "max_epoch", "loss_avg", "lr")
HALVES = ("base", "new")
NOT_SETTINGS = (  # where a run stood, which cell of a table it fills, and what it printed: no setting by which results could differ
    "VERSION", "OUTPUT_DIR", "RESUME", "SEED", "USE_CUDA", "VERBOSE", "DATASET.ROOT", "DATASET.NAME", "DATASET.NUM_SHOTS",
    "DATASET.SUBSAMPLE_CLASSES", "DATASET.FOLDER_PATH", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE_GIB", "DATALOADER.CACHE_DIR",
    "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ",
    "TEST.PER_CLASS_RESULT", "TEST.COMPUTE_CMAT", "TEST.NO_TEST", "TEST.SPLIT", "MODEL.INIT_WEIGHTS",
)  # fmt: skip
NOT_SETTING_GROUPS = ("SPEED.",)  # how fast a run computes the same


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        run_dir: its folder.
        result: what its `result.json` holds.
    """

    run_dir: Path
    result: Mapping[str, Any]

    @property
    def method(self) -> str:
        """Registered name of the trainer."""
        return self.result["trainer"]

    @property
    def dataset(self) -> str:
        """Name of the dataset that was tested."""
        return self.result["dataset"]

    @property
    def classes(self) -> str:
        """Which classes: base, new or all."""
        return self.result.get("subsample") or "all"

    @property
    def shots(self) -> int:
        """Training pictures a class; below 1 for all of them, or where nothing is trained."""
        return int(self.result.get("shots") or 0)

    @property
    def seed(self) -> int:
        """The seed; below 0 if the run was not seeded."""
        return int(self.result["seed"])

    @property
    def accuracy(self) -> float:
        """Percent, in full precision."""
        return self.result["accuracy"]

    @property
    def has_trained(self) -> bool:
        """Whether this run trained prompts, and did not only test."""
        return self.result.get("train_seconds") is not None

    @property
    def is_learned(self) -> bool:
        """Whether what was tested has been trained, here or in the run it was loaded from; zero-shot CLIP is not, and has no spread over seeds."""
        return self.has_trained or self.trained_dir is not None

    @property
    def trained_dir(self) -> Path | None:
        """The folder of the run whose checkpoint was tested, as it was then; None if nothing was loaded.

        `loaded_from` holds `<folder>/<model>/model.pth.tar-<epoch>` for each model.
        """
        loaded = self.result.get("loaded_from") or {}
        return next((Path(path).parent.parent for path in loaded.values()), None)

    def commit(self, n_digits: int = 40) -> str | None:
        """The commit that ran, which says so if files differed from it; None where it is not known."""
        commit = self.result.get("commit")
        return f"{commit[:n_digits]}{' (modified)' if self.result.get('modified') else ''}" if commit else None

    @property
    def precision(self) -> str | None:
        """What was computed in, which is not PREC as it was set where the device does not serve that; PREC, where the run does not say it."""
        if self.result.get("computed_in"):
            return self.result["computed_in"]
        node = self.result.get("config", {}).get("TRAINER", {}).get(self._settings_node, {})
        return node.get("PREC") if isinstance(node, Mapping) else None

    @property
    def _settings_node(self) -> str:
        """The method's node in the config: that of its name, unless the run says which."""
        return str(self.result.get("settings_node") or self.method.upper())

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting by which results can differ, under its dotted key; of the methods' nodes the run's own alone."""
        own = f"TRAINER.{self._settings_node}."
        flat = {
            key: value
            for key, value in _flatten(self.result.get("config") or {})
            if key not in NOT_SETTINGS
            and not key.startswith(NOT_SETTING_GROUPS)
            and (not key.startswith("TRAINER.") or key.startswith(own))
        }
        if (self.result.get("config") or {}).get("MODEL", {}).get("INIT_WEIGHTS"):
            flat["MODEL.INIT_WEIGHTS"] = "given"  # each seed may have a file of its own
        if self.result.get("data") is not None:
            flat["data"] = self.result["data"]
        return flat


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@dataclass
class FoundRuns:
    """Runs that are finished and tested, and sentences on those that are not."""

    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_result(path: Path) -> dict[str, Any]:
    """What the `result.json` at `path` holds, whatever the run's state.

    Raises:
        ValueError: it cannot be read, or is no result of a run.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ValueError(f"no result can be read at {path}: {e}") from e
    if not isinstance(result, dict) or "finished" not in result:
        raise ValueError(f"{path} is no result of a run: it is to be a JSON object with the key 'finished', as train.py writes it")
    return result


def read_run(run_dir: Path) -> Run:
    """The finished and tested run in `run_dir`.

    Raises:
        ValueError: there is no result, the run is not finished, or it was not tested on the test pictures.
    """
    path = run_dir / RESULT_NAME
    result = read_result(path)
    if not result["finished"]:
        raise ValueError(f"{path} is of a run that is not finished; run it again to go on")
    if result.get("accuracy") is None:
        raise ValueError(f"{path} has no accuracy: the run was finished without a test (TEST.NO_TEST)")
    if result.get("split") not in (None, "test"):
        raise ValueError(f"{path} was tested on the split {result['split']!r}, not on test (TEST.SPLIT)")
    lacking = [key for key in ("trainer", "dataset", "seed") if result.get(key) is None]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}, by which a table is made")
    return Run(run_dir, result)


def find_runs(dirs: Sequence[Path]) -> FoundRuns:
    """Every run below `dirs`, in the order of their paths; those that cannot be used are told in the notes.

    A folder `grid`, where tools/reproduce.py puts the runs of a grid of settings, is left out, which is told, unless it is one of `dirs`.

    Raises:
        FileNotFoundError: one of `dirs` is no folder, or no `result.json` lies below any.
    """
    run_dirs: set[Path] = set()
    grids: list[Path] = []
    for folder in dirs:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the folders that runs were written to, such as output/base2new")
        for parent, folders, names in os.walk(folder):
            if GRID_FOLDER in folders:
                folders.remove(GRID_FOLDER)
                grids.append(Path(parent) / GRID_FOLDER)
            if RESULT_NAME in names:
                run_dirs.add(Path(parent).resolve())
    if not run_dirs and not grids:
        raise FileNotFoundError(
            f"no {RESULT_NAME} lies below {', '.join(map(str, dirs))}; run something first, such as bash scripts/mpl/base2new.sh shapes 1 "
            "(logs of other code bases: tools/parse_test_res.py)"
        )
    found = FoundRuns(notes=[f"left out: the runs of a grid of settings in {grid}; give that folder itself to see them" for grid in grids])
    for run_dir in sorted(run_dirs):
        try:
            found.runs.append(read_run(run_dir))
        except ValueError as e:
            found.notes.append(f"left out: {e}")
    return found


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl` that have what a curve needs, less one that a crash cut short; empty if there is none."""
    path = run_dir / METRICS_NAME
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and all(isinstance(line.get(key), (int, float)) for key in CURVE_KEYS):
            lines.append(line)
    return lines
