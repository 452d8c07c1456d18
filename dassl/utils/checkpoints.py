"""Checkpoints: written whole or not at all, read without running anything from the file.

Layout of a model's folder: `model.pth.tar-<epoch>`, `model-best.pth.tar`, and a text file `checkpoint` that holds the name
of the file to resume from.
"""

import os
import shutil
from collections.abc import Iterable
from functools import partial
from reprlib import Repr
from typing import Any

import torch
from torch import nn

from .files import write_whole
from .safe_unpickle import find_inert, load_tensors_and_plain

POINTER_NAME = "checkpoint"
BEST_NAME = "model-best.pth.tar"
MAX_EPOCHS = 10**9  # what is above in a file is no number of epochs; our choice
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def epoch_file_name(epoch: int) -> str:
    """File name of the checkpoint after `epoch` epochs (1: after the first)."""
    return f"model.pth.tar-{epoch}"


def save_checkpoint(
    state: dict[str, Any],
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> str:
    """Save a training state and point `checkpoint` at it.

    Both files appear whole or not at all: each is written beside its place, forced to disk, and renamed.

    Args:
        state: holds at least `state_dict` and `epoch`, the number of finished epochs.
        save_dir: the model's folder; it is created.
        is_best: save a second file, `model-best.pth.tar`.
        remove_module_from_keys: take a leading "module.", as DataParallel adds it, off the keys of `state_dict`.
        model_name: file name; `model.pth.tar-<epoch>` by default. `model-best.pth.tar` does not move the pointer, so that
            an interrupted run never resumes from a best file older than its last epoch.

    Returns:
        the path of the file.
    """
    if remove_module_from_keys:
        weights = {key.removeprefix("module."): value for key, value in state["state_dict"].items()}
        state = {**state, "state_dict": weights}
    name = model_name or epoch_file_name(state["epoch"])
    path = os.path.join(save_dir, name)
    write_whole(path, lambda file: torch.save(state, file))
    if name != BEST_NAME:
        write_whole(os.path.join(save_dir, POINTER_NAME), lambda file: file.write(f"{name}\n".encode()))
    if is_best:
        write_whole(os.path.join(save_dir, BEST_NAME), lambda file: torch.save(state, file))
    print(f"Checkpoint saved to {path}")
    return path


def load_checkpoint(fpath: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, safely.

    First as tensors and plain data only. A file that also pickles objects, as the published Dassl's scheduler entry does,
    is read again with those objects replaced by stand-ins, and every entry that holds one becomes None.

    Args:
        fpath: the file.

    Returns:
        the saved dict.

    Raises:
        ValueError: `fpath` is None; the file is damaged, is not a checkpoint, or its weights are not plain tensors.
        FileNotFoundError: there is no such file.
    """
    if fpath is None:
        raise ValueError("load_checkpoint: the path is None; give the path of a checkpoint file")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f"no checkpoint at {fpath}; check the folder and the epoch{_beside(fpath)}")
    try:
        checkpoint = load_tensors_and_plain(fpath)
    except PermissionError:
        raise
    except Exception as error:  # a damaged or hostile pickle can fail in any way, and none of them is ours
        raise ValueError(_damaged(fpath, error)) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{fpath} holds a {type(checkpoint).__name__}, not a checkpoint (a dict with a state_dict)")
    checkpoint = _drop_stand_ins(checkpoint, fpath)
    if "state_dict" in checkpoint:
        _check_entries(checkpoint, fpath)
    return checkpoint


def _check_entries(checkpoint: dict[str, Any], path: str) -> None:
    """ValueError where the entries that every checkpoint has are of another kind."""
    weights, epoch = checkpoint["state_dict"], checkpoint.get("epoch", 0)
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{path}: its state_dict is no dictionary of names and arrays; it is damaged, or not a checkpoint")
    if type(epoch) is not int or not 0 <= epoch < MAX_EPOCHS:
        raise ValueError(f"{path}: its epoch is {_SHORT.repr(epoch)}, not a number of epochs from 0; it is damaged, or not a checkpoint")


def resume_from_checkpoint(
    fdir: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> int:
    """Put a model, its optimiser and its scheduler back to where the folder's last checkpoint left them.

    Args:
        fdir: the model's folder.

    Returns:
        the number of finished epochs, which is the index of the epoch to start with.

    Raises:
        FileNotFoundError: the folder holds no `checkpoint` file, or the file it names is missing.
        ValueError: the checkpoint does not fit.
    """
    path = pointed_path(fdir)
    checkpoint = load_checkpoint(path)
    restore(checkpoint, path, model, optimizer, scheduler)
    return checkpoint["epoch"]


def pointed_path(fdir: str) -> str:
    """Path of the file that a model folder's `checkpoint` names; FileNotFoundError when there is no pointer."""
    pointer = os.path.join(fdir, POINTER_NAME)
    if not os.path.isfile(pointer):
        raise FileNotFoundError(f"no file {pointer}, which names the checkpoint to resume from; is {fdir} a model's folder?")
    with open(pointer, encoding="utf-8") as file:
        return os.path.join(fdir, os.path.basename(file.readline().strip()))


def finished_epochs(directory: str, model_names: Iterable[str]) -> int:
    """How many epochs all models of a run have checkpoints of, by their pointers alone; 0 where one has none."""
    counts = []
    for name in model_names:
        try:
            _, _, count = os.path.basename(pointed_path(os.path.join(directory, name))).rpartition("-")
        except FileNotFoundError:
            return 0
        counts.append(int(count) if count.isdecimal() else 1)  # a name of the trainer's own
    return min(counts, default=0)


def bring_best_models(source: str, target: str, model_names: Iterable[str]) -> bool:
    """Copy the best model of each name from the run in `source` to that in `target`, unless they are one; False if one lacks, and nothing is copied."""
    paths = {name: os.path.join(source, name, BEST_NAME) for name in model_names}
    if not all(map(os.path.isfile, paths.values())):
        return False
    if os.path.realpath(source) != os.path.realpath(target):
        for name, path in paths.items():
            with open(path, "rb") as best:
                write_whole(os.path.join(target, name, BEST_NAME), partial(shutil.copyfileobj, best))
    return True


def restore(checkpoint: dict[str, Any], path: str, model: nn.Module, optimizer: Any = None, scheduler: Any = None) -> None:
    """Load a checkpoint's entries into a model, its optimiser and its scheduler.

    A scheduler entry that is not plain data is left out; the project's scheduler is then set by the epoch alone.

    Raises:
        ValueError: the weights or the optimiser's state are of another model.
    """
    if "state_dict" not in checkpoint:
        raise ValueError(f"{path} holds no state_dict, so it is no checkpoint of a run; it has {_SHORT.repr(sorted(map(str, checkpoint)))}")
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the weights in {path} do not fit this run's model: {str(error)[:2000]}") from error
    print(f"Loaded model weights from {path}")
    if optimizer is not None and isinstance(checkpoint.get("optimizer"), dict):
        try:
            optimizer.load_state_dict(checkpoint["optimizer"])
        except Exception as error:  # what a file calls an optimiser's state can make PyTorch raise nearly anything
            raise ValueError(
                f"the optimiser's state in {path} is of other parameters than this run's ({str(error)[:300]}); resume with the "
                "settings and the version that wrote it, or start in a fresh OUTPUT_DIR"
            ) from error
        print("Loaded the optimiser's state")
    if scheduler is None:
        return
    if isinstance(checkpoint.get("scheduler"), dict):
        scheduler.load_state_dict(checkpoint["scheduler"])
        print("Loaded the scheduler's state")
    elif hasattr(scheduler, "set_epoch"):
        scheduler.set_epoch(checkpoint["epoch"])
        print(f"{path} holds no plain scheduler state: the learning rate follows from the epoch, {checkpoint['epoch']}")


def _drop_stand_ins(checkpoint: dict[str, Any], path: str) -> dict[str, Any]:
    for key, value in checkpoint.items():
        origin = find_inert(value)
        if origin is None:
            continue
        if key == "state_dict" or "state_dict" not in checkpoint:
            raise ValueError(
                f"{path}: the entry {_SHORT.repr(key)} holds an object of {origin[:200]}, and only tensors and plain data are read from a "
                "checkpoint; save its state_dict() instead of the object"
            )
        print(f"Note: {path}: the entry {_SHORT.repr(key)} holds an object of {origin[:200]} and is left out, unread")
        checkpoint[key] = None
    return checkpoint


def _damaged(path: str, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0][:300]
    return (
        f"cannot read the checkpoint {path} ({os.path.getsize(path):,} bytes): {type(error).__name__}: {reason}; "
        "the file is cut short, damaged, or not a checkpoint: copy it again or train anew"
    )


def _beside(path: str) -> str:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    found = sorted(name for name in os.listdir(folder) if ".pth.tar" in name and not name.startswith("."))
    return f"; {folder} holds {', '.join(found) or 'none'}"
