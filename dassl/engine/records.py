"""What a run leaves for programs to read: `result.json`, and one line a printed step in `metrics.jsonl`."""

import datetime
import glob
import json
import math
import os
import time
from typing import Any

from dassl.utils.checkpoints import POINTER_NAME
from dassl.utils.environment import collect_versions, device_name, git_commit, is_modified
from dassl.utils.files import write_whole

RESULT_NAME = "result.json"
METRICS_NAME = "metrics.jsonl"
RESULT_KEYS = ("accuracy", "error_rate", "macro_f1", "correct", "total")


def describe_run(trainer: Any) -> dict[str, Any]:
    """What identifies a trainer's run and what it stands on, as plain data."""
    cfg, dataset = trainer.cfg, getattr(getattr(trainer, "dm", None), "dataset", None)
    return {
        "trainer": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "dataset": getattr(dataset, "title", cfg.DATASET.NAME),
        "data": getattr(dataset, "identity", None),  # where DATASET.NAME does not say it: which pictures, which split
        "subsample": cfg.DATASET.get("SUBSAMPLE_CLASSES"),
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "n_classes": getattr(trainer, "num_classes", None),
        "n_train_x": len(getattr(dataset, "train_x", None) or ()),
        "n_val": len(getattr(dataset, "val", None) or ()),
        "n_test": len(getattr(dataset, "test", None) or ()),
        "loaded_from": trainer.loaded_from,
        "device": device_name(trainer.device),
        "computed_in": trainer.computed_in,
        "settings_node": getattr(trainer, "settings_node", cfg.TRAINER.NAME.upper()),
        "versions": collect_versions(),
        "commit": git_commit(),
        "modified": is_modified(),
        "config": plain(cfg),
    }


class RunRecord:
    """Writes a run's `result.json` and `metrics.jsonl`. Nothing is written before `start` or `finish`.

    `result.json` is replaced as a whole each time, so that it can always be read; `finished` becomes true last.

    Args:
        output_dir: the run's folder.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = os.path.join(output_dir, RESULT_NAME)
        self.metrics_path = os.path.join(output_dir, METRICS_NAME)
        self._result: dict[str, Any] = {"finished": False, "started": _now(), "ended": None}
        self._result.update(dict.fromkeys(("epochs_done", "train_seconds", "test_seconds", "split", *RESULT_KEYS)))
        self._clock = time.monotonic()
        self._seconds_before = 0.0
        self.last_line_epoch = 0  # the epoch of the line that was written last, from 1

    def start(self, run: dict[str, Any], start_epoch: int, resumed_dir: str = "", n_batches: int = 0) -> None:
        """Begin the record of a training.

        Args:
            run: `describe_run`'s.
            start_epoch: finished epochs. Of a resumed run (above 0), the starting time, the seconds and the metrics of these
                epochs are kept, and the metrics of later ones dropped.
            resumed_dir: the folder that holds the record of these epochs, if it is not the run's own.
            n_batches: finished steps of the epoch after them, whose metrics are kept too.
        """
        self._result.update(run, epochs_done=start_epoch, train_seconds=0.0)
        if start_epoch > 0 or n_batches > 0:
            before = _read(os.path.join(resumed_dir, RESULT_NAME) if resumed_dir else self.path)
            self._result["started"] = before.get("started") or self._result["started"]
            self._seconds_before = self._result["train_seconds"] = before.get("train_seconds") or 0.0
        self._keep_metrics((start_epoch, n_batches), os.path.join(resumed_dir, METRICS_NAME) if resumed_dir else self.metrics_path)
        self._clock = time.monotonic()
        self._write()

    def epoch_done(self, n_epochs: int) -> None:
        """Note how many epochs are finished, and the seconds so far."""
        seconds = self._seconds_before + time.monotonic() - self._clock
        self._result.update(epochs_done=n_epochs, train_seconds=seconds)
        self._write()

    def step(self, line: dict[str, Any]) -> None:
        """Add one line to the metrics."""
        self.last_line_epoch = line.get("epoch", 0)
        with open(self.metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain(line)) + "\n")

    def finish(self, run: dict[str, Any], outcome: dict[str, Any]) -> None:
        """Write the final result.

        Args:
            run: `describe_run`'s.
            outcome: split, test_seconds and results of the last test; empty without one.
        """
        self._result.update(run)
        self._result.update(outcome, finished=True, ended=_now())
        self._write()

    def _write(self) -> None:
        order = ("finished", "trainer", "backbone", "dataset", "subsample", "shots", "seed", "split", "accuracy")
        first = {key: self._result[key] for key in order if key in self._result}
        text = json.dumps(plain({**first, **self._result}), indent=2)
        write_whole(self.path, lambda file: file.write(f"{text}\n".encode()))

    def sync(self) -> None:
        """Force the metrics to disk."""
        with open(self.metrics_path, "a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def _keep_metrics(self, until: tuple[int, int], source_path: str) -> None:
        """Begin with the lines in `source_path` up to `until`, epochs and batches of the next; less a line cut short by a crash."""
        kept = []
        if until > (0, 0) and os.path.isfile(source_path):
            with open(source_path, encoding="utf-8", errors="replace") as file:
                kept = [line for line in file if _is_until(line, *until)]
        self.last_line_epoch = json.loads(kept[-1])["epoch"] if kept else 0
        write_whole(self.metrics_path, lambda file: file.write("".join(kept).encode()))


def holds_training(folder: str) -> bool:
    """Whether a folder is that of a training, finished or not: its `result.json` says so, or there are checkpoints."""
    has_trained = _read(os.path.join(folder, RESULT_NAME)).get("epochs_done") is not None
    return has_trained or bool(glob.glob(os.path.join(glob.escape(folder), "*", POINTER_NAME)))


def finished_run(folder: str) -> str:
    """What the finished run in a folder is, for a message; empty if there is none."""
    result = _read(os.path.join(folder, RESULT_NAME))
    return f"{result.get('trainer')} on {result.get('dataset')}, seed {result.get('seed')}" if result.get("finished") is True else ""


def plain(tree: Any) -> Any:
    """`tree` as JSON can hold it: nodes as dicts, tuples as lists, numbers in full, what is not finite as null."""
    if isinstance(tree, dict):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple | set):
        return [plain(value) for value in tree]
    if isinstance(tree, bool | int | str) or tree is None:
        return tree
    try:
        number = float(tree)
    except (TypeError, ValueError):
        return str(tree)
    return number if math.isfinite(number) else None


def _is_until(line: str, n_epochs: int, n_batches: int) -> bool:
    """Whether a line of the metrics is of the first `n_epochs` epochs, or of the first `n_batches` steps of the next."""
    try:
        values = json.loads(line)
        epoch, batch = values["epoch"], values.get("batch", math.inf)
        return line.endswith("\n") and (epoch <= n_epochs or (epoch == n_epochs + 1 and batch <= n_batches))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
