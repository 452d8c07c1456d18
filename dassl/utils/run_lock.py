"""One run a folder: a second process that is given the same one is told who has it, and nothing in a folder changes while another run works in it."""

import contextlib
import datetime
import fnmatch
import json
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from filelock import FileLock, Timeout

from .files import mkdir_if_missing, remove_unfinished, write_whole

LOCK_NAME = ".run.lock"
HOLDER_NAME = ".run.holder.json"
RESULT_NAME = "result.json"
SETTINGS_NAME = "settings.txt"
PRECISION = re.compile(r"TRAINER\.\w+\.PREC ")
TENSORBOARD_NAME = "tensorboard"
TENSORBOARD_FILES = ("events.out.tfevents.*",)
RUN_FILES = (RESULT_NAME, SETTINGS_NAME, "log.txt*", "metrics.jsonl", "interrupted.pth.tar", "prompts.safetensors", "cmat.pt")
CHECKPOINT_FILES = ("checkpoint", "*.pth.tar*", ".*.part")
PATIENCE = 15.0  # seconds; loading processes of a killed run hold its lock until they notice, which takes PyTorch's up to five


class FolderHeldError(OSError):
    """Another run works in the output folder."""


@contextlib.contextmanager
def hold_run_folder(folder: str) -> Iterator[None]:
    """Keep a run's folder for this process in this block, and clear away what a killed run left half-written in it.

    The lock is the operating system's: it goes with the process that holds it, however that ends.

    Args:
        folder: OUTPUT_DIR; it is made where needed.

    Raises:
        ValueError: the folder has no name.
        FolderHeldError: another process holds it; the message says which, on which machine, since when, and with which command.
        OSError: the folder cannot be written.
    """
    if not folder:
        raise ValueError("OUTPUT_DIR is empty; give the folder of the run with --output-dir")
    mkdir_if_missing(folder)
    lock = FileLock(os.path.join(folder, LOCK_NAME))
    holder_path = os.path.join(folder, HOLDER_NAME)
    _acquire(lock, holder_path, folder)
    try:
        remove_unfinished(folder)
        text = json.dumps(_myself())
        write_whole(holder_path, lambda file: file.write(text.encode()))
        yield
    finally:
        with contextlib.suppress(OSError):
            os.remove(holder_path)
        lock.release()


def note_settings(folder: str, settings: str) -> None:
    """Write the settings that a launcher gave a run into the `settings.txt` of its folder, which this process holds.

    Args:
        folder: OUTPUT_DIR.
        settings: one a line; lines that begin with # are remarks.

    Raises:
        ValueError: a run with other settings has begun there.
        OSError: the file cannot be written.
    """
    path = os.path.join(folder, SETTINGS_NAME)
    if os.path.exists(os.path.join(folder, RESULT_NAME)) and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            begun, asked = _without_remarks(file.read()), _without_remarks(settings)
        if _is_unfinished(folder):  # it may go on in another precision, as after numbers that are not finite
            begun, asked = ([line for line in lines if not PRECISION.match(line)] for lines in (begun, asked))
        if begun != asked:
            raise ValueError(
                f"{folder} holds a run with {', '.join(begun) or 'no settings beside its config'} (its {SETTINGS_NAME}), which another start began "
                f"meanwhile, but {', '.join(asked) or 'none'} is asked for; wait for it, or set OUTPUT to another folder"
            )
    text = "".join(f"{line}\n" for line in settings.splitlines())
    write_whole(path, lambda file: file.write(text.encode()))


def _is_unfinished(folder: str) -> bool:
    try:
        with open(os.path.join(folder, RESULT_NAME), encoding="utf-8") as file:
            return json.load(file).get("finished") is False
    except (OSError, ValueError, AttributeError):
        return False


def _without_remarks(settings: str) -> list[str]:
    return [_with_whole_path(line) for line in settings.splitlines() if line and not line.startswith("#")]


def _with_whole_path(line: str) -> str:
    """A setting with its relative path, as runs of before noted it, read from here, as the run reads it; see `whole_path` in scripts/run_settings.sh."""
    key, _, value = line.partition(" ")
    is_path = key in ("MODEL.INIT_WEIGHTS", "RESUME") or (key == "MODEL.BACKBONE.NAME" and os.path.isfile(value))
    return f"{key} {os.path.abspath(value)}" if is_path and value else line


def remove_run(folder: str, model_names: Iterable[str]) -> None:
    """Remove the files and folders that a run leaves, by their names, from a folder that this process holds, but for the log that it writes.

    What is not a run's, and the folders of other runs in it, stay: the folder may be somebody's home.

    Args:
        folder: OUTPUT_DIR.
        model_names: the names of the folders in which runs may have kept checkpoints. Other folders stay, and what else is in these.
    """
    present = getattr(sys.stdout, "fpath", None)
    left = {TENSORBOARD_NAME: TENSORBOARD_FILES, **dict.fromkeys(model_names, CHECKPOINT_FILES)}
    for entry in os.scandir(folder):
        if entry.is_dir():
            _remove_files(entry.path, left.get(entry.name, ()))
        elif _fits(entry.name, RUN_FILES):
            if present is not None and os.path.realpath(entry.path) == os.path.realpath(present):
                continue
            os.remove(entry.path)


def _remove_files(folder: str, patterns: Iterable[str]) -> None:
    """Remove the files of a folder that have such names, and then the folder, unless it holds more or is a link."""
    found = [name for name in os.listdir(folder) if _fits(name, patterns)] if patterns else []
    for name in found:
        os.remove(os.path.join(folder, name))
    if found:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _acquire(lock: Any, holder_path: str, folder: str) -> None:
    """Take the lock; where its holder has ended, wait for the loading processes that it left behind."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout as error:
            holder = _read_holder(holder_path)
            if not _has_ended(holder) or time.monotonic() > give_up:
                raise FolderHeldError(_told(folder, holder)) from error
            time.sleep(0.2)


def _myself() -> dict[str, Any]:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "command": shlex.join(sys.argv)}


def _read_holder(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            holder = json.load(file)
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether the process that wrote `holder` is known to have ended, as only its own machine can tell."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int) or os.name != "posix":
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _told(folder: str, holder: dict[str, Any]) -> str:
    who = "it did not say who it is"
    if holder:
        who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}: {holder.get('command')}"
    return (
        f"another run works in the folder {folder} ({who}). Two runs in one folder would spoil each other's checkpoints: wait for it, end it, or give "
        "another --output-dir (OUTPUT in the launchers)"
    )
