"""The scalars of a run on Weights & Biases: TRAIN.WANDB_PROJECT."""

import os
from typing import Any

from dassl.record import flat, plain


class WandbWriter:
    """Takes scalars as tensorboard's writer does; the whole config is shown with the run."""

    def __init__(self, cfg: Any) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ModuleNotFoundError("TRAIN.WANDB_PROJECT needs wandb: pip install wandb") from error
        name = os.path.relpath(cfg.OUTPUT_DIR)
        config = dict(flat(plain(cfg)))
        self._run = wandb.init(project=cfg.TRAIN.WANDB_PROJECT, name=name, dir=cfg.OUTPUT_DIR, config=config)

    def add_scalar(self, tag: str, value: float, step: int | None = None) -> None:
        """Send a number; steps of training are counted in batches, those of tests in epochs."""
        self._run.log({tag: value, f"{tag.partition('/')[0]}/step": step})

    def close(self) -> None:
        self._run.finish()
