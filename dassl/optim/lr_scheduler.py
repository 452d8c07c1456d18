"""The learning rate of each epoch, as a function of the epoch's number alone."""

import math
from collections.abc import Callable
from typing import Any

import torch

from dassl.utils import check_availability


class EpochSchedule:
    """Sets an optimiser's learning rates once an epoch.

    Each rate is computed from the epoch's number, never from the rate before, so a resumed run cannot drift,
    the state is plain numbers, and the order of `optimizer.step()` and `step()` does not matter.

    Args:
        optimizer: its groups' present rates are the base rates.
        rate: (base rate, epoch from 0) -> rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rate: Callable[[float, int], float]) -> None:
        self.optimizer, self.rate = optimizer, rate
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the rates of an epoch, counted from 0."""
        self.last_epoch = epoch
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(base, epoch)

    def step(self) -> None:
        self.set_epoch(self.last_epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the epoch of a saved state, also PyTorch's; the rates follow from this run's settings."""
        self.set_epoch(state_dict["last_epoch"])


def build_lr_scheduler(optimizer: torch.optim.Optimizer, optim_cfg: Any) -> EpochSchedule:
    """Build the schedule of a config: a warm-up of WARMUP_EPOCH epochs, then LR_SCHEDULER.

    With WARMUP_RECOUNT the schedule counts its epochs from the end of the warm-up, and begins at the full
    rate. Without, it counts them from the start of training; it still begins at the full rate, and falls from
    there in the proportions that it has at those epochs.

    Args:
        optimizer: its groups' rates are the full rates.
        optim_cfg: the node OPTIM.
    """
    check_availability(optim_cfg.LR_SCHEDULER, ("single_step", "multi_step", "cosine"), "OPTIM.LR_SCHEDULER")
    factor = _factor(optim_cfg)
    n_warmup = max(optim_cfg.WARMUP_EPOCH, 0)
    if n_warmup >= optim_cfg.MAX_EPOCH:
        print(
            f"Warning: OPTIM.WARMUP_EPOCH {n_warmup} leaves no epoch of OPTIM.MAX_EPOCH "
            f"{optim_cfg.MAX_EPOCH} at OPTIM.LR, so that almost nothing is learned"
        )
    if n_warmup:
        check_availability(optim_cfg.WARMUP_TYPE, ("linear", "constant"), "OPTIM.WARMUP_TYPE")

    def rate(base: float, epoch: int) -> float:
        if epoch >= n_warmup:
            if optim_cfg.WARMUP_RECOUNT or n_warmup == 0:
                return base * factor(epoch - n_warmup)
            return base if epoch == n_warmup else base * factor(epoch) / factor(n_warmup)
        if optim_cfg.WARMUP_TYPE == "constant":
            return optim_cfg.WARMUP_CONS_LR
        return optim_cfg.WARMUP_MIN_LR if epoch == 0 else base * epoch / n_warmup

    return EpochSchedule(optimizer, rate)


def _factor(optim_cfg: Any) -> Callable[[int], float]:
    """What the full rate is multiplied by, as a function of the epoch."""
    if optim_cfg.LR_SCHEDULER == "cosine":
        # Down to 0 at MAX_EPOCH along half a cosine; a run that goes on beyond it stays there.
        return lambda epoch: (1 + math.cos(math.pi * min(epoch / optim_cfg.MAX_EPOCH, 1.0))) / 2
    steps = optim_cfg.STEPSIZE
    if optim_cfg.LR_SCHEDULER == "multi_step":
        return lambda epoch: optim_cfg.GAMMA ** sum(0 <= step <= epoch for step in steps)
    every = steps[-1] if steps[-1] > 0 else optim_cfg.MAX_EPOCH
    return lambda epoch: optim_cfg.GAMMA ** (epoch // every)
