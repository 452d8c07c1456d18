"""What one epoch shows while it runs: the printed lines, the metrics, the scalars."""

import datetime
import time
from collections.abc import Mapping
from typing import Any

from dassl.utils.meters import AverageMeter, MetricMeter

from .watch import OverflowWatch


class EpochProgress:
    """Averages an epoch's steps; prints and records every PRINT_FREQ-th, or every one if an epoch has fewer.

    Args:
        trainer: read for epoch, max_epoch, batch_idx, num_batches and cfg.TRAIN.PRINT_FREQ; its `write_scalar` gets the
            scalars and its `record`, if any, the metrics.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.losses = MetricMeter()
        self.batch_time, self.data_time = AverageMeter(), AverageMeter()
        self._pending: list[tuple[int, float, dict[str, Any]]] = []
        self._overflows = OverflowWatch(getattr(trainer, "scaler", None))
        self._end = time.perf_counter()

    def data_ready(self) -> None:
        """Call when a batch has arrived."""
        self.data_time.update(time.perf_counter() - self._end)

    @property
    def is_to_print(self) -> bool:
        """Whether the present step is one to print."""
        print_freq = self.trainer.cfg.TRAIN.PRINT_FREQ
        is_few = self.trainer.num_batches < print_freq
        return print_freq > 0 and (is_few or (self.trainer.batch_idx + 1) % print_freq == 0)

    def step_done(self, summary: Mapping[str, Any] | None, lr: float) -> None:
        """Call after a step, and after what waits for the GPU in one to print, so that its time is that of what was computed.

        Args:
            summary: the step's metrics, numbers or tensors of one element.
            lr: the learning rate that the step used.
        """
        self.batch_time.update(time.perf_counter() - self._end)
        self.losses.update(summary)
        averages = {name: meter.pending_avg for name, meter in self.losses.meters.items()}
        n_iter = self.trainer.epoch * self.trainer.num_batches + self.trainer.batch_idx
        self._pending.append((n_iter, lr, averages))
        self._end = time.perf_counter()

    def show(self, lr: float) -> None:
        """Print and record the present step."""
        t = self.trainer
        n_left = t.num_batches - t.batch_idx - 1 + (t.max_epoch - t.epoch - 1) * t.num_batches
        eta = datetime.timedelta(seconds=int(self.batch_time.avg * n_left))
        metrics = f"{self.losses} " if self.losses.meters else ""
        self._overflows.look()
        print(
            f"epoch [{t.epoch + 1}/{t.max_epoch}] batch [{t.batch_idx + 1}/{t.num_batches}] "
            f"time {self.batch_time.val:.3f} ({self.batch_time.avg:.3f}) "
            f"data {self.data_time.val:.3f} ({self.data_time.avg:.3f}) "
            f"{metrics}lr {lr:.4e} eta {eta}"
        )
        if getattr(t, "record", None) is not None:
            t.record.step(self._line(lr))
        self.flush_scalars()
        self._end = time.perf_counter()

    def _line(self, lr: float) -> dict[str, Any]:
        t = self.trainer
        line = {"epoch": t.epoch + 1, "max_epoch": t.max_epoch, "batch": t.batch_idx + 1, "num_batches": t.num_batches}
        line["step"] = t.epoch * t.num_batches + t.batch_idx + 1
        for name, meter in self.losses.meters.items():
            line[name], line[f"{name}_avg"] = meter.val, meter.avg
        return {**line, "lr": lr, "batch_time": self.batch_time.val, "data_time": self.data_time.val}

    def state_dict(self) -> dict[str, Any]:
        """The averages so far, as plain data and tensors."""
        return {name: meter.state_dict() for name, meter in self.losses.meters.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the averages of `state_dict`."""
        for name, values in state.items():
            self.losses.meters[name].load_state_dict(values)

    def end(self, n_steps: int) -> None:
        """Call after the epoch's last step, with the number of steps; says if many of them were left out."""
        self.flush_scalars()
        note = self._overflows.note(n_steps)
        if note:
            print(note)

    def flush_scalars(self) -> None:
        """Write the scalars of all steps since the last time; until then they stay on their device."""
        for n_iter, lr, averages in self._pending:
            for name, average in averages.items():
                self.trainer.write_scalar(f"train/{name}", float(average), n_iter)
            self.trainer.write_scalar("train/lr", lr, n_iter)
        self._pending.clear()
