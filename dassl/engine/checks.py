"""What would fail only after the training, or in its first step, is told before it."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from dassl.data.data_manager import DatasetWrapper
from dassl.data.loader import EpochLoader
from dassl.utils.checkpoints import BEST_NAME, bring_best_models, finished_epochs, load_checkpoint
from dassl.utils.registry import check_availability

from . import interrupted
from .records import finished_run


def check_before_training(trainer: Any) -> None:
    """Check that there is something to train and test on, and that its steps can take the pictures as they are loaded.

    Raises:
        ValueError, or KeyError for an unknown name: names the setting and what to change.
    """
    test, name = trainer.cfg.TEST, trainer.cfg.DATASET.NAME
    check_availability(test.FINAL_MODEL, ("last_step", "best_val"), "TEST.FINAL_MODEL")
    if trainer.train_loader_x is None:
        raise ValueError(f"{name} has no training pictures: test with --eval-only, or train on another dataset")
    _check_pictures(trainer)
    if test.NO_TEST:
        if test.FINAL_MODEL == "best_val":
            raise ValueError(
                "TEST.FINAL_MODEL best_val chooses the model by a test on val after each epoch, and TEST.NO_TEST True leaves out all tests: set one of "
                "them otherwise (TEST.FINAL_MODEL last_step)"
            )
        return
    loader_of(trainer, test.SPLIT)
    if test.FINAL_MODEL == "best_val":
        if trainer.val_loader is None:
            raise ValueError(f"TEST.FINAL_MODEL best_val needs val pictures, and {name} has none; set it to last_step")
        loader_of(trainer, "val")


def check_place(trainer: Any) -> None:
    """Refuse to train from the first epoch where a finished run has left its results, which no checkpoint goes on from.

    Raises:
        ValueError: names that run, and what to do.
    """
    other = finished_run(trainer.output_dir) if trainer.start_epoch == 0 and trainer.interrupted is None else ""
    if other:
        raise ValueError(
            f"{trainer.output_dir} holds the results of a finished run ({other}), which this training would take the place of: give another --output-dir, or "
            "--fresh (--force in the launchers) to replace it"
        )


def check_epochs(trainer: Any, n_epochs: int) -> None:
    """ValueError where more epochs are done, or begun, than OPTIM.MAX_EPOCH asks for; `n_epochs` are done."""
    n_begun = n_epochs + (trainer.interrupted is not None)
    if n_begun > trainer.max_epoch:
        raise ValueError(
            f"the checkpoint has {n_begun} epochs{' (the last one begun)' if trainer.interrupted else ''} and OPTIM.MAX_EPOCH is "
            f"{trainer.max_epoch}; raise it, or take another OUTPUT_DIR"
        )


def check_source(folder: str, model_names: Sequence[str]) -> None:
    """FileNotFoundError unless the run in `folder`, which RESUME names, can be gone on from."""
    if finished_epochs(folder, model_names) == 0 and not interrupted.exists(folder):
        looked_for = ", ".join(os.path.join(folder, name) for name in model_names)
        raise FileNotFoundError(f"RESUME {folder} holds no checkpoint to go on from; looked for {looked_for}")


def settle_best_model(trainer: Any, source: str) -> None:
    """Where epochs are finished, let the best model on val be the best of them all: known, told to be of later ones alone, or refused.

    Args:
        trainer: a trainer that has just been resumed.
        source: folder of the run that it goes on from.

    Raises:
        ValueError: TEST.FINAL_MODEL is best_val, and the finished epochs were not tested on val, or their best model is gone.
    """
    if trainer.start_epoch == 0:
        return
    if not trainer.chooses_on_val():
        trainer.best_result = -math.inf  # from here on epochs are not compared
        return
    names = trainer.get_model_names()
    if trainer.best_result != -math.inf and bring_best_models(source, trainer.output_dir, names):
        # A run that was killed after it had saved a better one, and before the epoch's checkpoint, has left that.
        kept = load_checkpoint(os.path.join(trainer.output_dir, names[0], BEST_NAME)).get("val_result")
        trainer.best_result = max(trainer.best_result, kept if isinstance(kept, float) else -math.inf)
        return
    lacking = f"{source} holds no best model on val of its {trainer.start_epoch} finished epochs"
    is_own = not trainer.cfg.RESUME or os.path.realpath(trainer.cfg.RESUME) == os.path.realpath(trainer.output_dir)
    if is_own or trainer.start_epoch >= trainer.max_epoch:
        raise ValueError(
            f"TEST.FINAL_MODEL best_val: {lacking} (they were not tested on val, or the file is gone), so that the best of all is not known. Set it to "
            "last_step, train afresh (--fresh; --force in the launchers), or take another --output-dir"
        )
    print(f"Note: {lacking}; the best is looked for among the epochs from here on")
    trainer.best_result = -math.inf


def loader_of(trainer: Any, split: str) -> Iterable[Any]:
    """The loader of "test" or "val"; one is never taken for the other.

    Raises:
        KeyError: neither of them. ValueError: the dataset has no such pictures, or they come without a transform.
    """
    loaders = {"val": trainer.val_loader, "test": trainer.test_loader}
    check_availability(split, list(loaders), "TEST.SPLIT")
    if loaders[split] is None:
        present = [name for name, loader in loaders.items() if loader is not None]
        raise ValueError(
            f"{trainer.cfg.DATASET.NAME} has no {split} pictures; it has {' and '.join(present) or 'neither val nor test'}: "
            "set TEST.SPLIT to what is there, and TEST.FINAL_MODEL to last_step if there is no val"
        )
    _check_transform(loaders[split])
    return loaders[split]


def _check_pictures(trainer: Any) -> None:
    """Raise ValueError for INPUT.NO_TRANSFORM or DATALOADER.K_TRANSFORMS that would end the first step."""
    for loader in (trainer.train_loader_x, trainer.train_loader_u):
        _check_transform(loader)
    k_transforms = trainer.cfg.DATALOADER.K_TRANSFORMS
    if k_transforms == 1:
        return
    views, numbers = [torch.zeros(1, 3, 2, 2)] * k_transforms, torch.zeros(1, dtype=torch.long)
    batch = {"img": views, "label": numbers, "domain": numbers, "impath": [""], "index": numbers}
    try:
        trainer.parse_batch_train(*(dict(batch) for _ in range(trainer.n_batches_a_step)))
    except AttributeError as error:  # a list has no .to()
        raise ValueError(
            f"DATALOADER.K_TRANSFORMS {k_transforms} gives a list of pictures as img, and {type(trainer).__name__} takes one "
            f"({error}); set it to 1, or define parse_batch_train for lists"
        ) from error
    except (LookupError, TypeError, NotImplementedError):
        pass  # its batches are of another kind, which this one cannot stand for


def _check_transform(loader: Any) -> None:
    wrapper = loader.dataset.dataset if isinstance(loader, EpochLoader) else None
    if type(wrapper) is DatasetWrapper and wrapper.transform is None:
        raise ValueError(
            "INPUT.NO_TRANSFORM True gives PIL pictures, which cannot be put together to a batch; set it to False, or give the "
            "loaders a dataset wrapper or a transform of the trainer's own"
        )
