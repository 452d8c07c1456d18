"""The prompt schedules of a method's two towers, from its config alone: built by the method's own builder, without weights, data or training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

import clip
from clip import CLIP, CLIPConfig, PromptSchedule
from clip.weights import find_published
from dassl.engine import TRAINER_REGISTRY
from trainers.base import PromptTrainer
from trainers.prompts import PromptLearner

TOWERS = ("image tower", "text tower")


@dataclass(frozen=True)
class MethodSchedules:
    """What happens to the prompts of each tower.

    Args:
        method: name of the trainer.
        backbone: name of the CLIP.
        text, vision: the schedules; None for a tower that learns nothing.
        settings: the method's settings, in words.
    """

    method: str
    backbone: str
    text: PromptSchedule | None
    vision: PromptSchedule | None
    settings: str

    @property
    def towers(self) -> list[tuple[str, PromptSchedule | None]]:
        """Name and schedule of each tower, the image tower first."""
        return list(zip(TOWERS, (self.vision, self.text), strict=True))


def sizes_of(backbone: str) -> CLIPConfig:
    """The sizes of the CLIP that MODEL.BACKBONE.NAME names; published ones are known without their weights.

    Raises:
        ValueError: the name is unknown, or the file is none of a CLIP.
        OSError: the weights file cannot be read.
    """
    published = find_published(backbone)
    return clip.load(backbone).config if published is None else published.config


def build_schedules(cfg: Any) -> MethodSchedules:
    """The schedules that a run with `cfg` uses, from the builder of its method on a CLIP of the right sizes that holds no numbers.

    Raises:
        ValueError: the method or a setting is refused, as a run would refuse it.
    """
    method = cfg.TRAINER.NAME
    trainer_class = TRAINER_REGISTRY.get(method)
    backbone = cfg.MODEL.BACKBONE.NAME
    node = cfg.TRAINER.get(getattr(trainer_class, "settings_node", method.upper()), {})
    settings = ", ".join(f"{key} {value}" for key, value in node.items() if key != "PREC")
    if not issubclass(trainer_class, PromptTrainer):
        return MethodSchedules(method, backbone, None, None, settings)
    sizes = sizes_of(backbone)
    with torch.device("meta"):
        model = CLIP(sizes)
    learner = trainer_class.build_prompt_learner(cfg, model, ["class"]).to("meta")
    vision = learner.vision()
    return MethodSchedules(method, backbone, _text_schedule(learner, model), None if vision is None else vision.schedule, settings)


def _text_schedule(learner: PromptLearner, model: CLIP) -> PromptSchedule | None:
    """The text tower's schedule; methods that learn words of the class prompt alone add them once and carry them through."""
    deep = learner.text().deep
    if deep is not None:
        return deep.schedule
    n_ctx = getattr(getattr(learner, "class_prompts", None), "n_ctx", 0)
    return PromptSchedule(model.config.text_layers, n_ctx, tower="text tower") if n_ctx else None


def token_origins(schedule: PromptSchedule) -> list[tuple[list[int], list[int]]]:
    """For each layer the layers at which its present prompts were added, first to last, and those of the prompts that were just removed.

    The last prompts are removed first (arXiv 2502.14125, section 2).
    """
    present: list[int] = []
    layers = []
    for plan in schedule.plans:
        kept = len(present) - plan.removed
        removed = present[kept:]
        present = present[:kept] + [plan.layer_index] * plan.added
        layers.append((list(present), removed))
    return layers


def schedule_rows(schedules: MethodSchedules) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of both towers, layer by layer."""
    heads = ["layer"]
    for tower, schedule in schedules.towers:
        if schedule is not None:
            heads += [f"{tower}: carried", "removed", "added", "total"]
    n_layers = max((s.n_layers for _, s in schedules.towers if s is not None), default=0)
    return heads, [[str(layer), *_row(schedules, layer)] for layer in range(n_layers)]


def _row(schedules: MethodSchedules, layer: int) -> Sequence[str]:
    cells: list[str] = []
    for _, schedule in schedules.towers:
        if schedule is not None:
            plan = schedule.plans[layer] if layer < schedule.n_layers else None
            cells += ["", "", "", ""] if plan is None else [str(n) for n in (plan.carried, plan.removed, plan.added, plan.total)]
    return cells
