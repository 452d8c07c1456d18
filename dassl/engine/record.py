"""A run's record: `result.json`, `metrics.jsonl`, and the one comparison of two runs' settings."""

import contextlib
import datetime
import glob
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from filelock import FileLock, Timeout

from dassl.utils import write_whole
from dassl.utils.environment import collect_versions, device_name, git_commit, is_modified

RESULT_NAME = "result.json"
METRICS_NAME = "metrics.jsonl"
RESULTS = ("split", "accuracy", "error_rate", "macro_f1", "majority", "correct", "total", "test_seconds")

NOT_COMPARED = (
    "VERSION",
    "OUTPUT_DIR",
    "RESUME",
    "VERBOSE",
    "USE_CUDA",
    "NUM_THREADS",
    "DATASET.ROOT",
    "MODEL.INIT_WEIGHTS",  # its content is
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST.BATCH_SIZE",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "TRAIN.CUDA_GRAPHS",
    "TRAIN.WANDB_PROJECT",
)
"""Settings that may differ between two runs that are the same."""

LOCK_SECONDS = 6  # the loading processes of a killed run hold its lock for up to five seconds

MAY_CHANGE = ("OPTIM.MAX_EPOCH", "PREC")
"""Settings with which an unfinished run may resume."""


def differing_settings(old_config: Any, new_config: Any, may_change: Sequence[str] = ()) -> list[str]:
    """A line "KEY: was A, now B" for each setting that both configs have with different values.

    Args:
        old_config, new_config: configs, as nodes or plain data.
        may_change: dotted keys, or last parts of keys such as PREC, that are not compared.
    """
    old, new = dict(flat(plain(old_config))), dict(flat(plain(new_config)))
    ignored = (*NOT_COMPARED, *may_change)
    lines = []
    for key, value in new.items():
        if key in ignored or key.rpartition(".")[2] in ignored or key not in old or old[key] == value:
            continue
        was, now = (text if len(text) <= 100 else f"{text[:97]}..." for text in (repr(old[key]), repr(value)))
        lines.append(f"{key}: was {was}, now {now}")
    return lines


def differing_runs(saved: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """The lines of `differing_settings` between what `identity` gave for a checkpoint and for this run."""
    lines = differing_settings(saved.get("config") or {}, own.get("config") or {}, MAY_CHANGE)
    keys = ("classnames", "init_weights", "train_rows")
    return lines + differing_settings(saved, {key: own.get(key) for key in keys})


def run_state(folder: str, config: Any) -> tuple[str, list[str]]:
    """The state of the run in a folder: "missing", "unfinished", "finished" or "other settings".

    Args:
        folder: OUTPUT_DIR.
        config: the settings that are wanted now.

    Returns:
        the state, and the lines of `differing_settings`.
    """
    result = read_result(folder)
    if not result:
        return "missing", []
    is_finished = result.get("finished") is True
    old = result.get("config") or {}
    lines = differing_settings(old, config, () if is_finished else MAY_CHANGE)
    folders = [own_images(old), own_images(config)]
    if folders[0] != folders[1]:
        lines.append(f"the folder of images: was {folders[0]}, now {folders[1]}")
    lines += changed_files(result, config)
    if lines:
        return "other settings", lines
    return "finished" if is_finished else "unfinished", []


def is_finished(cfg: Any, is_test: bool, tested: dict[str, Any] | None) -> bool:
    """Whether OUTPUT_DIR holds the results of this very run.

    Args:
        cfg: the config.
        is_test: whether it tests alone.
        tested: the training that it tests.

    Raises:
        ValueError: it holds a run with other settings; the message names them.
    """
    state, lines = run_state(cfg.OUTPUT_DIR, cfg)
    old = read_result(cfg.OUTPUT_DIR)
    if old:
        was = {"--eval-only": old.get("epochs_done") is None, "tested": old.get("tested") or {}}
        lines += differing_settings(was, {"--eval-only": is_test, "tested": state == "finished" and tested})
    if lines:
        raise ValueError(
            "\n  ".join([f"{cfg.OUTPUT_DIR} holds a run with other settings:", *lines])
            + "\nGive another output folder (--output-dir; OUTPUT of the launchers), or --force to move it "
            "aside and start afresh"
        )
    return state == "finished"


def changed_files(result: dict[str, Any], config: Any) -> list[str]:
    """A line for each file that the settings name and whose content is no longer the one of a result."""
    files = {
        ("init_weights", "MODEL.INIT_WEIGHTS"): config["MODEL"]["INIT_WEIGHTS"],
        ("class_names", "DATASET.FOLDER_CLASS_NAMES"): class_names_file(config),
    }
    return [
        f"{setting}: {path or 'no file'} has other content now"
        for (key, setting), path in files.items()
        if result.get(key, digest_of_file(path)) != digest_of_file(path)
    ]


def class_names_file(config: Any) -> str:
    """The file that DATASET.FOLDER_CLASS_NAMES names; empty if there is none."""
    path = config["DATASET"].get("FOLDER_CLASS_NAMES", "")
    return path and os.path.join(own_images(config), os.path.expanduser(path))


def own_images(config: Any) -> str:
    """The folder that DATASET.FOLDER_PATH names; empty for a benchmark dataset."""
    dataset = config.get("DATASET", {})
    path = dataset.get("FOLDER_PATH", "")
    return path and os.path.realpath(os.path.join(os.path.expanduser(dataset["ROOT"]), path))


def read_result(folder: str) -> dict[str, Any]:
    """The `result.json` of a folder; empty if there is none."""
    try:
        with open(os.path.join(folder, RESULT_NAME), encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


@contextlib.contextmanager
def hold_folder(folder: str, force: bool) -> Iterator[None]:
    """Keep other runs out of a run's folder in this block.

    Args:
        folder: OUTPUT_DIR; it is created.
        force: first rename the run in it to FOLDER.old-<time>.
    """
    folder = os.path.normpath(folder)
    lock = FileLock(os.path.join(folder, ".run.lock"))

    def acquire() -> None:
        os.makedirs(folder, exist_ok=True)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise ValueError(
                f"another run works in {folder}: wait for it, or give another output folder"
            ) from error

    acquire()
    try:
        traces = ("result.json", "log.txt", os.path.join("*", "checkpoint"))
        if force and any(glob.glob(os.path.join(glob.escape(folder), trace)) for trace in traces):
            aside = f"{folder}.old-{time.strftime('%Y-%m-%d-%H-%M-%S')}"
            os.rename(folder, aside)
            lock.release()
            print(f"Moved the run that was in {folder} to {aside}")
            acquire()
        for name in ("*.part", os.path.join("*", "*.part")):  # left by a killed run
            for path in glob.glob(os.path.join(glob.escape(folder), name)):
                os.remove(path)
        yield
    finally:
        lock.release()


def is_held(folder: str) -> bool:
    """Whether a run works in a folder."""
    try:
        with FileLock(os.path.join(folder, ".run.lock"), timeout=0):
            return False
    except Timeout:
        return True


class RunRecord:
    """Writes the `result.json` and `metrics.jsonl` of a run's folder.

    `result.json` is written as a whole each time, and `finished` becomes true last.

    Args:
        folder: OUTPUT_DIR.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.extra: dict[str, Any] = {}  # further entries, such as the protocol
        self._result: dict[str, Any] = {}
        self._start = time.monotonic()

    def begin(self, run: dict[str, Any], epochs_done: int | None = None, source: str = "") -> None:
        """Begin the record of a run.

        Args:
            run: what identifies the run, as plain data.
            epochs_done: finished epochs of a training; None for a test alone.
            source: the folder that a training resumes from, whose metrics up to `epochs_done` are kept.
        """
        before = read_result(source) if epochs_done else {}
        self._result = {
            "finished": False,
            **run,
            **self.extra,
            "started": before.get("started") or _now(),
            "ended": None,
            "epochs_done": epochs_done,
            "train_seconds": None if epochs_done is None else before.get("train_seconds") or 0.0,
            **dict.fromkeys(RESULTS),
        }
        self._start = time.monotonic() - (self._result["train_seconds"] or 0.0)
        if epochs_done is not None:
            lines = "".join(_metrics_until(os.path.join(source, METRICS_NAME), epochs_done))
            write_whole(os.path.join(self.folder, METRICS_NAME), lambda file: file.write(lines.encode()))
        self._write()

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Add one line to the metrics."""
        with open(os.path.join(self.folder, METRICS_NAME), "a", encoding="utf-8") as file:
            file.write(json.dumps(plain(line)) + "\n")

    def epoch_done(self, n_epochs: int) -> None:
        """Record how many epochs are finished, and the seconds so far."""
        self._result.update(epochs_done=n_epochs, train_seconds=time.monotonic() - self._start)
        self._write()

    def finish(self, outcome: dict[str, Any]) -> None:
        """Complete the record.

        Args:
            outcome: the results of the last test, and what else became known during the run.
        """
        self._result.update(outcome, finished=True, ended=_now())
        self._write()

    def _write(self) -> None:
        text = json.dumps(plain(self._result), indent=2)
        write_whole(os.path.join(self.folder, RESULT_NAME), lambda file: file.write(f"{text}\n".encode()))


def recorded_config(cfg: Any, read: Sequence[str]) -> dict[str, Any]:
    """The config as plain data.

    Args:
        read: the nodes and keys of TRAINER that the method reads; the others are left out. () keeps all.
    """
    config = plain(cfg)
    if read:
        of_trainer = config["TRAINER"].items()
        config["TRAINER"] = {key: value for key, value in of_trainer if key in ("NAME", *read)}
    return config


def identity(cfg: Any, read: Sequence[str], lab2cname: dict[int, str], rows: Iterable[Any]) -> dict[str, Any]:
    """What makes a training the one it is, as its checkpoints hold it.

    Args:
        cfg: the config.
        read: the method's own node first; see `recorded_config`.
        lab2cname: label -> class name.
        rows: the training images.
    """
    backbone = cfg.MODEL.BACKBONE.NAME
    config = recorded_config(cfg, read)
    method = dict(config["TRAINER"].get(read[0] if read else cfg.TRAINER.NAME.upper(), {}))
    method |= dict(flat({f"TRAINER.{key}": config["TRAINER"][key] for key in read[1:]}))
    return {
        "trainer": cfg.TRAINER.NAME,
        "backbone": os.path.basename(backbone) if os.path.isfile(os.path.expanduser(backbone)) else backbone,
        "dataset": cfg.DATASET.NAME,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "subsample": cfg.DATASET.get("SUBSAMPLE_CLASSES"),
        "classnames": [lab2cname[label] for label in sorted(lab2cname)],
        "method": {key: value for key, value in method.items() if key != "PREC"},
        "input": plain(cfg.INPUT),
        "init_weights": digest_of_file(cfg.MODEL.INIT_WEIGHTS),
        "train_rows": digest_of_rows(rows, cfg.DATASET.ROOT),
        "config": config,
    }


def description(cfg: Any, read: Sequence[str], dataset: Any, device: Any) -> dict[str, Any]:
    """What identifies a run and what it runs on, as `result.json` holds it."""
    return {
        "trainer": cfg.TRAINER.NAME,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "dataset": getattr(dataset, "title", cfg.DATASET.NAME),
        "data": getattr(
            dataset, "identity", None
        ),  # which images and split, where DATASET.NAME does not say it
        "subsample": cfg.DATASET.get("SUBSAMPLE_CLASSES"),
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "init_weights": digest_of_file(cfg.MODEL.INIT_WEIGHTS),
        "class_names": digest_of_file(class_names_file(cfg)),
        "n_classes": dataset.num_classes,
        "n_train_x": len(dataset.train_x or ()),
        "n_val": len(dataset.val or ()),
        "n_test": len(dataset.test or ()),
        "device": device_name(device),
        "versions": collect_versions(),
        "commit": git_commit(),
        "modified": is_modified(),
        "config": recorded_config(cfg, read),
    }


def plain(tree: Any) -> Any:
    """`tree` as JSON can hold it: nodes as dicts, tuples as lists, numbers that are not finite as None."""
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


def digest_of_file(path: str) -> str:
    """SHA-256 of a file; the path itself where there is none."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        return path
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def digest_of_rows(rows: Iterable[Any], root: str) -> str:
    """SHA-256 of the paths and labels of Datum rows, in any order, wherever the data folder `root` is."""
    roots = [os.path.join(folder, "") for folder in (os.path.abspath(os.path.expanduser(root)), root)]
    lines = []
    for row in rows:
        folder = next((folder for folder in roots if row.impath.startswith(folder)), None)
        name = row.impath[len(folder) :].replace(os.sep, "/") if folder else os.path.basename(row.impath)
        lines.append(f"{name}\t{row.label}\n")
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a config, with their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _metrics_until(path: str, n_epochs: int) -> Iterator[str]:
    """The lines of the first `n_epochs` epochs, less one that a crash cut short."""
    if n_epochs == 0 or not os.path.isfile(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                if json.loads(line)["epoch"] <= n_epochs and line.endswith("\n"):
                    yield line
            except (ValueError, KeyError, TypeError):
                continue


def _now() -> str:
    return (
        datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    )  # tells a training from the one before
