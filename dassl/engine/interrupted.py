"""The state of a run within an epoch: one that is stopped there goes on with the very next step, as if it had never been stopped."""

import contextlib
import os
from typing import Any

import torch

from dassl.data.loader import EpochLoader
from dassl.utils.checkpoints import load_checkpoint
from dassl.utils.files import write_whole
from dassl.utils.seeding import set_random_state

FILE_NAME = "interrupted.pth.tar"
LOADERS = ("train_loader_x", "train_loader_u")


def capture(trainer: Any, n_batches: int, progress: Any = None) -> dict[str, Any] | None:
    """All that the rest of the epoch depends on; its tensors are the trainer's own, not copies.

    Args:
        trainer: the trainer, between two steps of `trainer.epoch`.
        n_batches: steps of this epoch that are done.
        progress: the epoch's EpochProgress; None where no step is left.

    Returns:
        plain data and tensors; None if a loader is the trainer's own kind, of which no one knows where it stands.
    """
    loaders = {name: loader for name in LOADERS if (loader := getattr(trainer, name, None)) is not None}
    if not all(isinstance(loader, EpochLoader) for loader in loaders.values()):
        return None
    return {
        **trainer.shared_state(trainer.epoch),
        "models": {name: trainer.model_state(name) for name in trainer.get_model_names()},
        "n_batches": n_batches,
        "num_batches": trainer.num_batches,
        "loaders": {name: loader.position() for name, loader in loaders.items() if loader.is_started},
        "meters": {} if progress is None else progress.state_dict(),
    }


def write(state: dict[str, Any], directory: str) -> str:
    """Write a captured state, whole or not at all; returns the file's path."""
    path = os.path.join(directory, FILE_NAME)
    write_whole(path, lambda file: torch.save(state, file))
    return path


def exists(directory: str) -> bool:
    """Whether a run was stopped within an epoch here."""
    return os.path.isfile(os.path.join(directory, FILE_NAME))


def read(directory: str) -> dict[str, Any] | None:
    """The state of a run that was stopped within an epoch; None if there is none.

    Raises:
        ValueError: the file is damaged, or of another kind.
    """
    if not exists(directory):
        return None
    path = os.path.join(directory, FILE_NAME)
    state = load_checkpoint(path)
    wanted = {"epoch", "models", "n_batches", "num_batches", "loaders", "meters", "random_state"}
    if not wanted <= state.keys():
        raise ValueError(
            f"{path} lacks {', '.join(sorted(wanted - state.keys()))}, so it is no state of a run stopped within an epoch; delete it: the run then "
            "goes on from its last checkpoint"
        )
    return state


def drop(directory: str) -> None:
    """Remove the state, once a checkpoint of a later moment is on disk."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(directory, FILE_NAME))


def enter(trainer: Any, state: dict[str, Any] | None, progress: Any) -> int:
    """Put loaders, averages and random generators where `state` was captured; call it right before the epoch's steps.

    Returns:
        how many steps of the epoch are done; 0 without a state.

    Raises:
        ValueError: the epoch has another number of steps now.
    """
    if state is None:
        return 0
    if state["num_batches"] != trainer.num_batches:
        raise ValueError(
            f"the run was stopped in an epoch of {state['num_batches']} steps, and now an epoch has {trainer.num_batches}; give the settings that it "
            f"was started with, or delete {FILE_NAME} in its folder to go on from the last finished epoch"
        )
    for name, position in state["loaders"].items():
        getattr(trainer, name).resume_at(position)
    progress.load_state_dict(state["meters"])
    set_random_state(state["random_state"])
    return state["n_batches"]


def leave(trainer: Any) -> None:
    """The epoch's steps are done: what a loader was to go on with, and nobody asked for, is forgotten."""
    for name in LOADERS:
        loader = getattr(trainer, name, None)
        if isinstance(loader, EpochLoader):
            loader.resume_at(None)
