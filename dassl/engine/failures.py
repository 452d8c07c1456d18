"""What a failure means to the person at the keyboard: what ran out or went away, and the next step."""

import contextlib
import errno
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch

from .stopping import StopRequested

# What a setting, a file, a name, a number or an installation can cause.
EXPECTED = (ValueError, OSError, LookupError, ArithmeticError, ModuleNotFoundError)

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed here (see `ulimit -f`)",
}
_REFUSED = {
    errno.EROFS: "it is on a read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}
_GONE = {
    errno.EIO: "the disk or the network file system fails",
    errno.ESTALE: "the network file system has lost it",
    errno.ENOTCONN: "the network file system is not connected",
}
_OUT_OF_CPU_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "not enough memory")
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (.+?)\. |exited unexpectedly)", re.DOTALL)
_KEPT = "What was saved before is whole: the same command goes on from the last checkpoint"


def explain(error: BaseException, cfg: Any = None) -> str:
    """What to tell of an error that a setting, a file or the machine has caused.

    Args:
        error: what ended the run.
        cfg: its config, if there was one yet; its values are named.

    Returns:
        one or a few lines; empty for an error of the program itself, which its traceback tells best.
    """
    for link in _chain(error):
        told = _of_memory(link, cfg) or _of_worker(link, cfg) or _of_disk(link, cfg) or _of_package(link)
        if told:
            return told
        if isinstance(link, EXPECTED):
            return message_of(link)
    return ""


def message_of(error: BaseException) -> str:
    """What an error says: without the quotes that a KeyError puts around it, and without the traceback of a loading process."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith("Caught ") and "in DataLoader worker process" in text.partition("\n")[0]:
        name = text.split()[1]
        text = text.rpartition(f"{name}: ")[2].strip()
    return text or type(error).__name__


@contextlib.contextmanager
def asides_in_short() -> Iterator[None]:
    """In this block, what fails beside the run gives a line and not a traceback.

    That is a background thread, such as tensorboard's when its folder is gone; and a loading process whose end Python notices in a destructor or another
    place where it drops errors: the run then ends where it next asks that process for pictures, if it does.
    """
    before_thread, before_dropped = threading.excepthook, sys.unraisablehook

    def tell_of_thread(args: Any) -> None:
        print(
            f"Note: the background thread {getattr(args.thread, 'name', '?')} has ended: {args.exc_type.__name__}: {args.exc_value}",
            file=sys.stderr,
        )

    def tell_of_dropped(args: Any) -> None:
        ended = _ended_worker(args.exc_value)
        if ended:
            print(f"Note: {ended}", file=sys.stderr)
        elif not isinstance(args.exc_value, StopRequested):  # which the next look raises again
            before_dropped(args)

    threading.excepthook, sys.unraisablehook = tell_of_thread, tell_of_dropped
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before_thread, before_dropped


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and what was being handled when it was raised."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _of_memory(error: BaseException, cfg: Any) -> str:
    text = message_of(error)
    if isinstance(error, torch.OutOfMemoryError):
        return f"the GPU is out of memory ({text.split('. ')[0]}).{_smaller(cfg, 'amp or fp16')} {_KEPT}."
    is_of_cpu = isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_CPU_MEMORY)
    if isinstance(error, MemoryError) or is_of_cpu or getattr(error, "errno", None) == errno.ENOMEM:
        return f"the machine is out of memory (RAM): {text.split('. ')[0]}.{_smaller(cfg, 'bf16')} Fewer DATALOADER.NUM_WORKERS need less too. {_KEPT}."
    return ""


def _smaller(cfg: Any, precisions: str) -> str:
    if cfg is None:
        return ""
    loader = cfg.DATALOADER
    return (
        f" Try a smaller DATALOADER.TRAIN_X.BATCH_SIZE (now {loader.TRAIN_X.BATCH_SIZE}) in training or DATALOADER.TEST.BATCH_SIZE (now "
        f"{loader.TEST.BATCH_SIZE}) in testing; the trainer's PREC {precisions}; or fewer classes (DATASET.SUBSAMPLE_CLASSES, now "
        f"{cfg.DATASET.get('SUBSAMPLE_CLASSES')!r}): the text tower reads a prompt for each. Another batch size in training makes another run, which needs "
        "another OUTPUT_DIR."
    )


def _ended_worker(error: BaseException | None) -> str:
    """Which loading process ended, and how, where that is what PyTorch has raised; else empty."""
    found = _WORKER.search(str(error)) if isinstance(error, RuntimeError) else None
    if not found:
        return ""
    return f"the loading process {found[1].strip()} {f'was killed ({found[2]})' if found[2] else 'ended unexpectedly'}"


def _of_worker(error: BaseException, cfg: Any) -> str:
    ended = _ended_worker(error)
    if not ended:
        return ""
    n_workers = "?" if cfg is None else cfg.DATALOADER.NUM_WORKERS
    return (
        f"{ended}. The system kills one when memory (RAM) runs out, or the shared memory of a container: set "
        f"DATALOADER.NUM_WORKERS (now {n_workers}) to fewer or to 0, which changes no result, or give the job more memory (docker: --shm-size). {_KEPT}."
    )


def _of_disk(error: BaseException, cfg: Any) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    place = error.filename or ("" if cfg is None else cfg.OUTPUT_DIR)
    place = f"{os.fsdecode(place)}: " if isinstance(place, str | bytes) and place else ""
    if error.errno in _FULL:
        return f"{place}{_FULL[error.errno]}. Make room, or give another --output-dir on a disk that has some. {_KEPT}."
    if error.errno in _REFUSED:
        is_of_run = cfg is not None and _is_within(os.fsdecode(error.filename or ""), cfg.OUTPUT_DIR)
        instead = "Give a folder that can be written (--output-dir; OUTPUT in the launchers)" if is_of_run else "Name another place"
        return f"{place}{_REFUSED[error.errno]}. {instead}, or change the rights of this one."
    if error.errno == errno.EPIPE:
        return f"what reads this output has ended, as `| head` does. Let the run print to a terminal or a file. {_KEPT}."
    if error.errno in _GONE:
        return f"{place}{_GONE[error.errno]}. See that the file system is there again. {_KEPT}."
    if error.errno == errno.ENOENT and cfg is not None and place and _is_within(os.fsdecode(error.filename or ""), cfg.OUTPUT_DIR):
        return f"{place}it is gone, though this run has made it: something else removed or moved the run's folder. Start the run again."
    return ""


def _of_package(error: BaseException) -> str:
    """What to tell of an import that failed; nothing where the project's own message says more."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    return f"the Python package {error.name} is not installed here ({sys.executable}): pip install -r requirements.txt"


def _is_within(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(folder), ""))
