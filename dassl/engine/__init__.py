"""The training loop, and the registry of trainers."""

from .trainer import TRAINER_REGISTRY, TrainerX, build_trainer
