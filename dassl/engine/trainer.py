"""Trainers that get data, model and evaluator from the config, and their epochs."""

import contextlib
import copy
import datetime
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import Any

import torch
from tqdm import tqdm

from dassl.config import check_ranges
from dassl.data import DataManager
from dassl.data.loader import EpochLoader, repeated
from dassl.evaluation import build_evaluator
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import count_num_param, load_pretrained_weights
from dassl.utils.checkpoints import BEST_NAME, epoch_file_name, finished_epochs
from dassl.utils.registry import check_availability

from . import interrupted
from .base import TrainerBase
from .checks import check_before_training, check_epochs, check_place, check_source, loader_of, settle_best_model
from .identity import digest_rows, method_settings, training_settings
from .progress import EpochProgress
from .records import RunRecord, describe_run
from .simple_net import SimpleNet
from .stopping import STOP, StopRequested

__all__ = ["SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU"]


class SimpleTrainer(TrainerBase):
    """Builds everything from a config, trains, keeps checkpoints and records, and tests.

    Args:
        cfg: the config.
    """

    n_batches_a_step = 1  # how many batches `forward_backward` and `parse_batch_train` take
    model: torch.nn.Module
    num_batches: int
    batch_idx: int
    train_loader_x: Any  # an `EpochLoader`, or a loader of the trainer's own
    train_loader_u: Any

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        check_ranges(cfg)
        self.check_cfg(cfg)
        self.settings_node = getattr(self, "settings_node", cfg.TRAINER.NAME.upper())  # of cfg.TRAINER
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.record = RunRecord(self.output_dir)
        self._outcome: dict[str, Any] = {}  # of the last test
        self._recorded: dict[str, Any] | None = None  # the outcome that `finish` has recorded
        self._record_begun = False
        self._is_own_further: bool | None = None  # than the run that RESUME names; None: not looked yet
        self._train_rows = ""
        self._training_settings = training_settings(cfg)  # now, while the file of MODEL.INIT_WEIGHTS is what is about to be read
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError if the config does not suit the method; runs before anything is built."""

    def build_data_loader(self) -> None:
        """Set `train_loader_x`, `train_loader_u`, `val_loader`, `test_loader`, `num_classes`, `lab2cname` and `dm`."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.train_loader_u = self.dm.train_loader_u
        self.val_loader = self.dm.val_loader
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.num_source_domains = self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        """Build and register a `SimpleNet`; methods build and register their own."""
        cfg = self.cfg
        print("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)

    # --- training -------------------------------------------------------------------------------------------------

    def train(self) -> None:  # type: ignore[override]  # Dassl's signature
        """Train from the first epoch, or from where a checkpoint in the output folder left off, then test."""
        self.check_training()
        super().train(self.start_epoch, self.max_epoch)

    def check_training(self) -> None:
        """Raise for what would only fail after training or in its first step: ValueError, or KeyError for an unknown name."""
        if not self._models:
            raise ValueError(f"{type(self).__name__} registers no model, so there is nothing to train; use --eval-only")
        check_before_training(self)

    def before_train(self) -> None:
        """Resume if there is something to resume, open the writer, and begin the record.

        Raises:
            ValueError: more epochs are done than OPTIM.MAX_EPOCH asks for, or another run's results are there.
            FileNotFoundError: RESUME names a folder without a checkpoint.
        """
        if self._resumed_dir():
            check_source(self.cfg.RESUME, self.get_model_names())
        self.start_epoch = self.resume_model_if_exist(self._resumed_dir() or self.output_dir)
        check_place(self)
        check_epochs(self, self.start_epoch)
        settle_best_model(self, self._resumed_dir() or self.output_dir)
        if not self._resumed_dir():
            self._drop_checkpoint(self.start_epoch - 1)  # in case that a run was killed before it did so
        self.epoch = max(self.start_epoch - 1, 0)
        self.init_writer(os.path.join(self.output_dir, "tensorboard"))
        self.time_start = time.time()
        self._record_begun = False
        self.begin_record()

    def _resumed_dir(self) -> str:
        """The folder of the run that is gone on from, if it is not the output folder; else "".

        A job with RESUME that is stopped and started again goes on from its own folder, once that is further.
        """
        resume, names = self.cfg.RESUME, self.get_model_names()
        if not resume or os.path.realpath(resume) == os.path.realpath(self.output_dir):
            return ""
        if self._is_own_further is None:
            n_own, n_other = (finished_epochs(folder, names) for folder in (self.output_dir, resume))
            begun = interrupted.read(self.output_dir)
            n_own = max(n_own, begun["epoch"]) if begun else n_own
            self._is_own_further = n_own > n_other or (n_own == n_other and begun is not None)
            if self._is_own_further:
                print(f"{self.output_dir} is further than {resume}, which RESUME names, and is gone on from")
        return "" if self._is_own_further else resume

    def begin_record(self) -> None:
        """Write `result.json`, unfinished, and keep the metrics of finished epochs alone; once a training."""
        if self._record_begun:
            return
        self._record_begun, self._recorded = True, None
        n_batches = self.interrupted["n_batches"] if self.interrupted else 0
        self.record.start(describe_run(self), self.start_epoch, self._resumed_dir(), n_batches)

    def after_epoch(self) -> None:
        """Evaluate on val if the best model is wanted, then save, then drop the checkpoint before."""
        if self.chooses_on_val():
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_NAME)
        self.begin_record()  # for a loop that does without before_train
        if self.record.last_line_epoch != self.epoch + 1:  # an epoch of the trainer's own, or PRINT_FREQ below 1
            self.record.step({"epoch": self.epoch + 1, "max_epoch": self.max_epoch})
        self.record.sync()  # a checkpoint never counts an epoch whose metrics are not on disk
        self.save_model(self.epoch, self.output_dir)
        interrupted.drop(self.output_dir)
        self._drop_checkpoint(self.epoch)
        self.record.epoch_done(self.epoch + 1)

    def chooses_on_val(self) -> bool:
        """Whether the model of the epoch that is best on val is the run's."""
        return self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST

    def _close_epoch(self) -> None:
        """`after_epoch`; a signal in its test on val, which may be long, saves the epoch as it was before."""
        with STOP.held():
            state = copy.deepcopy(interrupted.capture(self, self.num_batches)) if self.chooses_on_val() else None
            try:
                super()._close_epoch()
            except StopRequested as stop:
                if state is None or stop.saved:
                    raise
                interrupted.write(state, self.output_dir)
                raise StopRequested(stop.signum, f"the test on val after epoch {self.epoch + 1}") from stop

    def _drop_checkpoint(self, n_epochs: int) -> None:
        """Remove the models' files of `n_epochs` finished epochs, unless TRAIN.CHECKPOINT_FREQ keeps them."""
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if frequency > 0 and n_epochs % frequency == 0:
            return
        for name in self.get_model_names():
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.output_dir, name, epoch_file_name(n_epochs)))

    def after_train(self) -> None:
        """Test the model that TEST.FINAL_MODEL names, and say how long all took."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                if self.best_result == -math.inf:
                    raise ValueError("no epoch's test on val gave a number, so there is no best model: set TEST.FINAL_MODEL to last_step")
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    def finish(self) -> None:
        """End the loading processes and write the final `result.json`, with `finished` true; once an outcome.

        The outcome of a test of the trainer's own is taken from the evaluator.
        """
        for loader in (self.train_loader_x, self.train_loader_u):
            if isinstance(loader, EpochLoader):
                loader.stop_workers()
        outcome = self._outcome
        if not outcome and getattr(self.evaluator, "summary", None):
            outcome = {"split": self.cfg.TEST.SPLIT, **self.evaluator.summary}
        if self._recorded is None or self._recorded != outcome:
            self.record.finish(describe_run(self), outcome)
            self._recorded = outcome

    def run_identity(self) -> dict[str, Any]:
        """Trainer, backbone, dataset, shots, seed, class names, and the settings and pictures that training depends on.

        Left out is what may change on the way: the precision, the number of epochs, and the folders.
        """
        cfg = self.cfg
        backbone = cfg.MODEL.BACKBONE.NAME
        return {
            "trainer": cfg.TRAINER.NAME,
            "backbone": os.path.basename(backbone) if os.path.isfile(os.path.expanduser(backbone)) else backbone,
            "dataset": cfg.DATASET.NAME,
            "shots": cfg.DATASET.NUM_SHOTS,
            "seed": cfg.SEED,
            "classnames": [self.lab2cname[label] for label in sorted(self.lab2cname)],
            "method": method_settings(cfg, self.settings_node),
            **self._training_settings,
            "subsample": cfg.DATASET.get("SUBSAMPLE_CLASSES"),
            "train_rows": self._digest_train_rows(),
        }

    def _digest_train_rows(self) -> str:
        if not self._train_rows:
            rows = getattr(getattr(getattr(self, "dm", None), "dataset", None), "train_x", None)
            self._train_rows = digest_rows(rows or (), self.cfg.DATASET.ROOT)
        return self._train_rows

    def _run_batches(self, batches: Callable[[int], Iterable[tuple]]) -> None:
        """One epoch: a step a tuple of batches, with its time, losses, lines and scalars.

        Args:
            batches: gives them from a step on; 0, unless the run was stopped within the epoch.
        """
        self.set_model_mode("train")
        self._loss_watch.reset()
        progress = EpochProgress(self)
        first = interrupted.enter(self, self.interrupted, progress)
        self.interrupted, self.batch_idx = None, first - 1
        with STOP.held(goes_on=True):  # to the end of `_close_epoch`
            for self.batch_idx, batch in enumerate(batches(first), first):
                progress.data_ready()
                self._loss_watch.begin_step(self.batch_idx, batch)
                lr = self.get_current_lr()
                summary = self.forward_backward(*batch)
                if isinstance(summary, dict) and "loss" in summary:
                    self.detect_anomaly(summary["loss"])
                if progress.is_to_print:
                    self._stop_if_bad(self._loss_watch.first_bad())
                progress.step_done(summary, lr)
                if progress.is_to_print:
                    progress.show(lr)
                if STOP.is_requested:
                    self._stop_in_epoch(progress)
            interrupted.leave(self)
            self._check_numbers()
            progress.end(self.num_batches - first)

    def _check_numbers(self) -> None:
        self._stop_if_bad(self._loss_watch.first_bad())
        self._stop_if_not_learned()

    def _stop_in_epoch(self, progress: EpochProgress) -> None:
        """Save the run as it is after this step, and end it; with loaders of the trainer's own nothing is saved, and the epoch begins anew."""
        self._check_numbers()
        progress.flush_scalars()
        self.close_writer()
        state = interrupted.capture(self, self.batch_idx + 1, progress)
        if state is not None:
            self.record.sync()
            interrupted.write(state, self.output_dir)
            self.record.epoch_done(self.epoch)
        STOP.look(f"{'' if state else 'an earlier moment than '}{self.where()}")

    # --- testing --------------------------------------------------------------------------------------------------

    def _loader_of(self, split: str) -> Iterable[Any]:
        return loader_of(self, split)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate the present models.

        Args:
            split: "test" or "val"; TEST.SPLIT by default. One is never taken for the other.

        Returns:
            the evaluator's first result; accuracy in percent with the default one.

        Raises:
            ValueError: the dataset has no such pictures.
        """
        split = self.cfg.TEST.SPLIT if split is None else split
        loader = self._loader_of(split)
        self.set_model_mode("eval")
        self.evaluator.reset()
        print(f"Evaluate on the *{split}* set")
        start = time.perf_counter()
        # disable=None: no bar where standard error is not a terminal, so that no log file holds one
        with contextlib.ExitStack() as at_end:
            outputs = self.test_outputs(loader)
            if hasattr(outputs, "close"):  # a generator, which ends what it has begun for this test, however that ends
                at_end.callback(outputs.close)
            for output, label in tqdm(outputs, total=length_hint(loader) or None, disable=None, leave=False):
                self.evaluator.process(output, label)
                STOP.look()
        results = self.evaluator.evaluate()
        self._outcome = {"split": split, "test_seconds": time.perf_counter() - start, **results, **getattr(self.evaluator, "summary", {})}
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def test_outputs(self, loader: Iterable[Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits [B, C] and labels [B] of each batch; a method may have them without the pictures."""
        for batch in loader:
            input, label = self.parse_batch_test(batch)
            yield self.model_inference(input), label

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of pictures [B, 3, height, width]."""
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and labels on the run's device."""
        # Nothing waits for the copies: where there is a GPU, the loaders bring pictures into page-locked memory.
        return batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True)


class TrainerX(SimpleTrainer):
    """Trains on labelled pictures; a method defines `forward_backward(batch)`."""

    def run_epoch(self) -> None:
        """One pass over `train_loader_x`."""
        self.num_batches = len(self.train_loader_x)
        self._run_batches(lambda first: ((batch,) for batch in self.train_loader_x))

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """Pictures, labels and domains on the run's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device), batch["domain"].to(self.device)


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled pictures; a method defines `forward_backward(batch_x, batch_u)`."""

    n_batches_a_step = 2

    def check_training(self) -> None:
        """As `SimpleTrainer`; there are unlabelled pictures, and COUNT_ITER is known."""
        super().check_training()
        check_availability(self.cfg.TRAIN.COUNT_ITER, ("train_x", "train_u", "smaller_one"), "TRAIN.COUNT_ITER")
        if self.train_loader_u is None:
            raise ValueError(f"{type(self).__name__} needs unlabelled pictures, and {self.cfg.DATASET.NAME} has none")

    def run_epoch(self) -> None:
        """As many steps as TRAIN.COUNT_ITER says; the shorter of the two sets starts over when it ends."""
        n_x, n_u = len(self.train_loader_x), len(self.train_loader_u)
        counts = {"train_x": n_x, "train_u": n_u, "smaller_one": min(n_x, n_u)}
        self.num_batches = counts[self.cfg.TRAIN.COUNT_ITER]

        def pairs(first: int) -> Iterator[tuple]:
            numbers = range(first, self.num_batches)
            for _, *pair in zip(numbers, repeated(self.train_loader_x), repeated(self.train_loader_u), strict=False):
                yield tuple(pair)

        self._run_batches(pairs)

    def parse_batch_train(  # type: ignore[override]  # Dassl's signature
        self, batch_x: dict[str, Any], batch_u: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Labelled pictures, their labels, and unlabelled pictures, on the run's device."""
        return batch_x["img"].to(self.device), batch_x["label"].to(self.device), batch_u["img"].to(self.device)
