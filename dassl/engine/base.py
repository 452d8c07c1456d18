"""The bare trainer: registered models, their checkpoints, their steps, and the loop over epochs."""

import math
import os
from collections import OrderedDict
from typing import Any

import torch

from dassl.utils import load_checkpoint, save_checkpoint, tolist_if_not
from dassl.utils.checkpoints import BEST_NAME, epoch_file_name, finished_epochs, pointed_path, restore
from dassl.utils.registry import check_availability
from dassl.utils.seeding import get_random_state, set_random_state

from . import interrupted
from .identity import differences
from .stopping import STOP
from .watch import LossWatch, not_finite, remedy, shown


class TrainerBase:
    """Runs epochs over registered models; what an epoch does is up to subclasses.

    A registered model needs `state_dict`, `load_state_dict`, `parameters`, `train` and `eval`; what it saves is its own
    affair, so that a method can save its learned part alone.
    """

    def __init__(self) -> None:
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._optims: OrderedDict[str, Any] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer: Any = None
        self._loss_watch = LossWatch()
        self.record: Any = None  # a RunRecord, where a subclass keeps one
        self.best_result = -math.inf
        self.loaded_from: dict[str, str] = {}
        self.computed_in: str | None = None  # fp16, bf16, amp or fp32; for methods that have a PREC
        self.interrupted: dict[str, Any] | None = None  # where to go on within the first epoch, from `interrupted.read`

    # --- models ---------------------------------------------------------------------------------------------------

    def register_model(self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None) -> None:
        """Put a model, and its optimiser and scheduler if it learns, under the trainer's care.

        Args:
            name: also the name of its folder of checkpoints.

        Raises:
            AttributeError: before `super().__init__()`. ValueError: the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before register_model({name!r})")
        if name in self._models:
            raise ValueError(f"a model named {name!r} is registered already; names: {list(self._models)}")
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        """`names` as a list, all registered names by default; KeyError for one that is not registered."""
        known = list(self._models)
        if names is None:
            return known
        for name in tolist_if_not(names):
            check_availability(name, known, "model")
        return tolist_if_not(names)

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Put models in mode "train", or "eval" (also called "test")."""
        check_availability(mode, ("train", "eval", "test"), "mode")
        for name in self.get_model_names(names):
            self._models[name].train() if mode == "train" else self._models[name].eval()

    def update_lr(self, names: str | list[str] | None = None) -> None:
        """Step the schedulers; trainers call it on the last batch of an epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        """The learning rate of the first group of the first model that has an optimiser.

        Raises:
            ValueError: none has.
        """
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                return self._optims[name].param_groups[0]["lr"]
        raise ValueError(f"{type(self).__name__} has no learning rate: no model with an optimiser is registered")

    # --- steps ----------------------------------------------------------------------------------------------------

    def detect_anomaly(self, loss: Any) -> None:
        """Stop the run if a loss is not finite.

        On the CPU at once; a loss on the GPU is looked at with the next printed step, at the latest at the epoch's end and
        before anything is saved, so that no step has to wait.

        Raises:
            FloatingPointError: names epoch, batch and its pictures.
        """
        self._stop_if_bad(self._loss_watch.see(loss, getattr(self, "batch_idx", 0)))

    def _stop_if_bad(self, batch_idx: int | None) -> None:
        if batch_idx is None:
            return
        at = f"the loss is not finite at {self.where(batch_idx)}"
        raise FloatingPointError(f"{at}{self._remedy()}{shown(self._loss_watch.pictures(batch_idx))}")

    def _stop_if_not_learned(self) -> None:
        """Raise FloatingPointError if a learned parameter is not finite, as after an overflow in the last gradient of an epoch."""
        for model in self._models.values():
            name = not_finite(model)
            if name:
                raise FloatingPointError(f"the learned parameter {name} is not finite after {self.where()}{self._remedy()}")

    def where(self, batch_idx: int | None = None) -> str:
        """The present step, or step `batch_idx` (from 0) of the epoch, as the printed lines have it: "epoch [2/5] batch [7/20]"."""
        batch_idx = getattr(self, "batch_idx", 0) if batch_idx is None else batch_idx
        epoch, max_epoch = getattr(self, "epoch", 0) + 1, getattr(self, "max_epoch", "?")
        return f"epoch [{epoch}/{max_epoch}] batch [{batch_idx + 1}/{getattr(self, 'num_batches', '?')}]"

    def _remedy(self) -> str:
        lr = next((optim.param_groups[0]["lr"] for optim in self._optims.values() if optim is not None), "?")
        return remedy(lr, getattr(self, "epoch", 0), getattr(self, "output_dir", "the output folder"))

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        """Clear the gradients of models that have an optimiser."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: torch.Tensor) -> None:
        """Check a loss and go back from it."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: torch.Tensor, names: str | list[str] | None = None) -> None:
        """Clear the gradients, go back from `loss`, and step the optimisers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def run_identity(self) -> dict[str, Any]:
        """What makes this run the run it is, as plain data; saved with it, and compared when one is resumed."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """What a method must keep beside its models to go on from here, as plain data and tensors; saved with them."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave, when a run is resumed; {} comes from a file that holds none."""

    def save_model(self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = "") -> None:
        """Save every model with all that going on from here needs.

        Args:
            epoch: the epoch that has just ended, from 0.
            directory: gets a folder a model.
            is_best, model_name: as `save_checkpoint`.
            val_result: the result on val that the model is saved for.
        """
        shared = {**self.shared_state(epoch + 1), "val_result": None if val_result is None else float(val_result)}
        for name in self.get_model_names():
            save_checkpoint({**self.model_state(name), **shared}, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def model_state(self, name: str) -> dict[str, Any]:
        """The entries of a checkpoint that are one model's: its weights, its optimiser, its scheduler."""
        optim, sched = self._optims[name], self._scheds[name]
        return {
            "state_dict": self._models[name].state_dict(),
            "optimizer": None if optim is None else optim.state_dict(),
            "scheduler": None if sched is None else sched.state_dict(),
        }

    def shared_state(self, n_epochs: int) -> dict[str, Any]:
        """The entries of a checkpoint that all models share, after `n_epochs` epochs."""
        scaler = getattr(self, "scaler", None)
        return {
            "epoch": n_epochs,
            "best_result": float(self.best_result),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random_state": get_random_state(),
            "run": self.run_identity(),
            "extra_state": self.extra_state(),
        }

    def resume_model_if_exist(self, directory: str) -> int:
        """Go back to where the last checkpoints in `directory` left the models, the generators and the best result.

        A run that was stopped within an epoch goes on there: `interrupted` then says where.

        Returns:
            the number of finished epochs; 0 when a model has no checkpoint there.

        Raises:
            ValueError: the checkpoints are of another run, or do not fit.
        """
        state = interrupted.read(directory)
        has_checkpoints = finished_epochs(directory, self.get_model_names()) > 0
        if not has_checkpoints and state is None:
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        checkpoints, paths = self._last_common_checkpoints(directory) if has_checkpoints else ({}, {})
        epoch = min((checkpoint["epoch"] for checkpoint in checkpoints.values()), default=0)
        if state is not None and state["epoch"] >= epoch:  # else it is older than the last checkpoint
            return self._resume_within_epoch(state, os.path.join(directory, interrupted.FILE_NAME))
        for name, checkpoint in checkpoints.items():
            self._check_identity(checkpoint, paths[name])
        for name, checkpoint in checkpoints.items():
            restore(checkpoint, paths[name], self._models[name], self._optims[name], self._scheds[name])
            self._restore_shared(checkpoint)
        return epoch

    def _last_common_checkpoints(self, directory: str) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """The checkpoints of all models after the last epoch that all of them have, and their paths, by model."""
        folders = {name: os.path.join(directory, name) for name in self.get_model_names()}
        paths = {name: pointed_path(folder) for name, folder in folders.items()}
        checkpoints = {name: load_checkpoint(path) for name, path in paths.items()}
        # Stopped between the saving of two models, one is an epoch ahead.
        epoch = min(checkpoint["epoch"] for checkpoint in checkpoints.values())
        for name, checkpoint in checkpoints.items():
            if checkpoint["epoch"] != epoch:
                paths[name] = os.path.join(folders[name], epoch_file_name(epoch))
                checkpoints[name] = load_checkpoint(paths[name])
        return checkpoints, paths

    def _resume_within_epoch(self, state: dict[str, Any], path: str) -> int:
        self._check_identity(state, path)
        absent = [name for name in self.get_model_names() if name not in state["models"]]
        if absent:
            raise ValueError(
                f"{path} is of another run: it holds no model {', '.join(absent)}; take another OUTPUT_DIR, or delete that run"
            )
        for name in self.get_model_names():
            restore({**state, **state["models"][name]}, path, self._models[name], self._optims[name], self._scheds[name])
        self._restore_shared(state)
        self.interrupted = state
        print(f"Going on within epoch {state['epoch'] + 1}, after batch {state['n_batches']} of {state['num_batches']}")
        return state["epoch"]

    def _restore_shared(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(checkpoint.get("best_result"), float):
            self.best_result = checkpoint["best_result"]
        scaler = getattr(self, "scaler", None)
        if scaler is not None and checkpoint.get("scaler"):
            scaler.load_state_dict(checkpoint["scaler"])
        self.load_extra_state(checkpoint.get("extra_state") or {})
        if checkpoint.get("random_state"):
            set_random_state(checkpoint["random_state"])

    def _check_identity(self, checkpoint: dict[str, Any], path: str) -> None:
        saved, own = checkpoint.get("run"), self.run_identity()
        rows = differences(saved, own)
        if rows:
            if rows == differences(saved, {"method": own.get("method")}):
                # The method may know why its settings do not go together with what it kept, and then says more.
                self.load_extra_state(checkpoint.get("extra_state") or {})
            raise ValueError(
                f"{path} is of another run, and going on from it would mix the two:{rows}\nTake another OUTPUT_DIR, delete "
                "that run, or give the settings it was started with"
            )

    def _check_loadable(self, saved: Any, path: str) -> None:
        """Refuse to test weights under another model than they were learned in: its method's settings, its backbone."""
        own = self.run_identity()
        rows = differences(saved, {key: own[key] for key in ("backbone", "method") if key in own})
        if rows:
            raise ValueError(
                f"{path} was trained with other settings, and its results under these would be wrong:{rows}\nGive the settings "
                "it was trained with"
            )

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the weights of a finished or stopped run.

        Args:
            directory: the run's folder; empty: nothing happens, and a line says so.
            epoch: finished epochs; None: the model that was best on val.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: it does not fit the model, or says that it was trained with another backbone or other settings of
                the method; the message begins with its path. A file that says nothing, as published ones, is taken.
        """
        if not directory:
            print("load_model() is skipped: no folder of a trained model is given (--model-dir)")
            return
        file_name = BEST_NAME if epoch is None else epoch_file_name(epoch)
        for name in self.get_model_names():
            path = os.path.join(directory, name, file_name)
            checkpoint = load_checkpoint(path)
            self._check_loadable(checkpoint.get("run"), path)
            print(f"Load {path} to {name} (epoch={checkpoint['epoch']}, val_result={checkpoint.get('val_result')})")
            try:
                self._models[name].load_state_dict(checkpoint["state_dict"])
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{path}: {error}") from error
            self.loaded_from[name] = path

    # --- scalars --------------------------------------------------------------------------------------------------

    def init_writer(self, log_dir: str) -> None:
        """Open tensorboard's writer in `log_dir`; without tensorboard, say so and go on."""
        if self._writer is not None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("tensorboard is not installed: no scalars for it; metrics.jsonl holds the same numbers")
            return
        print(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close the writer, if one is open."""
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Give the writer a number; nothing happens without a writer, as when only testing."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    # --- the loop and its hooks -----------------------------------------------------------------------------------

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run the epochs `start_epoch` to `max_epoch` - 1; `before_train` may move the start to resume."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        self.begin_record()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020, hooks read self.epoch
            self.before_epoch()
            with STOP.releasing():
                self.run_epoch()
                self._close_epoch()
        self.after_train()
        self.finish()

    def _close_epoch(self) -> None:
        """`after_epoch`, before which no signal ends the run, so that the epoch is not lost."""
        with STOP.held():
            self.after_epoch()
        STOP.look(f"the end of epoch {self.epoch + 1}")

    def before_train(self) -> None:
        """Runs once before the first epoch."""

    def begin_record(self) -> None:
        """Begins the run's record when `before_train` is done, unless that has begun it."""

    def before_epoch(self) -> None:
        """Runs before each epoch."""

    def after_epoch(self) -> None:
        """Runs after each epoch."""

    def after_train(self) -> None:
        """Runs once after the last epoch."""

    def finish(self) -> None:
        """Ends the run's record; `train` calls it last, and whoever only tests calls it after the test.

        Calling it again, as after a `train` that may be a trainer's own, changes nothing.
        """

    def run_epoch(self) -> None:
        """One pass over the training data."""
        raise NotImplementedError(f"{type(self).__name__} must define run_epoch()")

    def test(self, split: str | None = None) -> float:
        """Evaluate."""
        raise NotImplementedError(f"{type(self).__name__} must define test()")

    def parse_batch_train(self, batch: Any) -> Any:
        """A training batch on the run's device."""
        raise NotImplementedError(f"{type(self).__name__} must define parse_batch_train(batch)")

    def parse_batch_test(self, batch: Any) -> Any:
        """A test batch on the run's device."""
        raise NotImplementedError(f"{type(self).__name__} must define parse_batch_test(batch)")

    def forward_backward(self, batch: Any) -> dict[str, Any]:
        """One training step; returns its metrics."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_backward(batch)")

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of a batch of pictures."""
        raise NotImplementedError(f"{type(self).__name__} must define model_inference(input)")
