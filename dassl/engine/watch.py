"""The watch over a run's numbers: losses and learned parameters that are not finite, and steps that float16 made impossible."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

N_SHOWN = 8  # pictures of a bad batch that a message names; our choice: a batch of the published configs has 4


class LossWatch:
    """Finds the first step whose loss is not finite, without waiting for the GPU at every step.

    Args:
        is_lazy: collect the losses where they are until `first_bad` asks; by default those on a GPU, others are looked at at once.
    """

    def __init__(self, is_lazy: bool | None = None) -> None:
        self._is_lazy = is_lazy
        self.reset()

    def reset(self) -> None:
        """Forget what was seen; call it at the start of an epoch."""
        self._first_bad: torch.Tensor | None = None
        self._last: torch.Tensor | None = None  # the tensor looked at last, held so that its memory is not given to another
        self._last_batch = -1
        self._pictures: dict[int, list[str]] = {}  # batch -> paths, of all batches since the last look

    def begin_step(self, batch_idx: int, batches: Iterable[Any]) -> None:
        """Note the pictures of a step, so that they can be named.

        Args:
            batches: the dicts that the loaders gave; their `impath` is read, if there is one.
        """
        self._pictures[batch_idx] = [str(path) for batch in batches if isinstance(batch, Mapping) for path in batch.get("impath", ())]

    def pictures(self, batch_idx: int) -> list[str]:
        """Paths of a step's pictures; empty if they were not noted or are forgotten."""
        return self._pictures.get(batch_idx, [])

    def see(self, loss: Any, batch_idx: int) -> int | None:
        """Look at a step's loss.

        Returns:
            `batch_idx` if the loss is not finite and that can be told at once, as on the CPU; None otherwise. A tensor that
            was looked at last in this step, detached or not, is not looked at again.
        """
        if not isinstance(loss, torch.Tensor):
            return None if math.isfinite(loss) else batch_idx
        if self._last is not None and self._last_batch == batch_idx and self._last.data_ptr() == loss.data_ptr():
            return None
        self._last, self._last_batch = loss.detach(), batch_idx
        is_bad = ~loss.detach().isfinite().all()
        if not (loss.is_cuda if self._is_lazy is None else self._is_lazy):
            return batch_idx if bool(is_bad) else None
        if self._first_bad is None:
            self._first_bad = torch.full((), -1, device=loss.device, dtype=torch.long)
        self._first_bad = torch.where(is_bad & (self._first_bad < 0), batch_idx, self._first_bad)
        return None

    def first_bad(self) -> int | None:
        """Batch of the first collected loss that was not finite; None if all were. Waits for the GPU."""
        if self._first_bad is not None and int(self._first_bad) >= 0:
            return int(self._first_bad)
        self._pictures = {batch: paths for batch, paths in self._pictures.items() if batch >= self._last_batch}
        return None


class OverflowWatch:
    """Counts the steps of an epoch that a GradScaler left out, because gradients overflowed float16.

    Each of them lowers the scale, so that reading it now and then tells how many there were, without waiting at every step.

    Args:
        scaler: the trainer's `torch.amp.GradScaler`, or None.
    """

    def __init__(self, scaler: Any) -> None:
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._scale = self._scaler.get_scale() if self._scaler else 1.0
        self.n_skipped = 0

    def look(self) -> None:
        """Read the scale. Waits for the GPU."""
        if self._scaler is None:
            return
        scale = self._scaler.get_scale()
        if 0 < scale < self._scale:
            self.n_skipped += round(math.log(self._scale / scale, 1 / self._scaler.get_backoff_factor()))
        self._scale = scale

    def note(self, n_steps: int) -> str:
        """What to tell of an epoch of `n_steps` steps; empty if at most a tenth (our choice) of them were left out."""
        self.look()
        if self.n_skipped * 10 <= n_steps:
            return ""
        return (
            f"Note: {self.n_skipped} of the epoch's {n_steps} steps were left out, because their gradients overflowed float16 (PREC amp; the loss "
            f"is now scaled by {self._scale:g}). A few at the start of a run are normal; if it goes on, set PREC to bf16 or fp32, or lower OPTIM.LR"
        )


def not_finite(model: Any) -> str:
    """Name of the first learned parameter that holds a NaN or an infinity; empty if none does. Waits for the GPU once.

    Args:
        model: anything with `named_parameters`; those that require no gradient are passed over.
    """
    named: Any = getattr(model, "named_parameters", dict)()
    learned = {name: parameter.detach() for name, parameter in dict(named).items() if parameter.requires_grad}
    if not learned:
        return ""
    device = next(iter(learned.values())).device
    are_finite = torch.stack([values.isfinite().all().to(device) for values in learned.values()]).tolist()
    return next((name for name, is_finite in zip(learned, are_finite, strict=True) if not is_finite), "")


def remedy(lr: Any, n_epochs: int, folder: str) -> str:
    """How to go on after a number that is not finite; it follows what says where.

    Args:
        lr: the present learning rate.
        n_epochs: epochs that were finished before, whose state is in `folder`.
    """
    before = f"The state after epoch {n_epochs} is in {folder}" if n_epochs else "No epoch was finished before"
    return (
        f", learning rate {lr}; try the trainer's PREC amp or fp32 if it is fp16, or a lower OPTIM.LR. {before}: the same command with another PREC "
        "goes on from there; another OPTIM.LR makes another run, which needs another OUTPUT_DIR (--force in the launchers)"
    )


def shown(pictures: list[str]) -> str:
    """The first few paths of a batch, one a line, and how many more there are; empty for none."""
    more = [f"and {len(pictures) - N_SHOWN:,} more"] if len(pictures) > N_SHOWN else []
    lines = "".join(f"\n  {line}" for line in [*pictures[:N_SHOWN], *more])
    return f"\nThe pictures of this batch:{lines}" if lines else ""
