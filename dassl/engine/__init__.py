"""The training loop, the record of a run, and the registry of trainers."""

from typing import Any

import torch

from dassl.utils import Registry
from dassl.utils.seeding import make_deterministic

from .trainer import TrainerX

__all__ = ["TRAINER_REGISTRY", "TrainerX", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: Any) -> Any:
    """Build the trainer that TRAINER.NAME names, under the settings DETERMINISTIC and NUM_THREADS."""
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if cfg.NUM_THREADS:
        torch.set_num_threads(cfg.NUM_THREADS)
    if cfg.DETERMINISTIC:
        make_deterministic()
    return trainer(cfg)
