"""From a prompt file to its method's prompts, by the same code that training uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import trainers
from clip import CLIP
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.registry import UnknownNameError, unknown_name_message
from trainers.learned import LearnedParameters
from trainers.precision import Precision
from trainers.prompt_file import PromptFile
from trainers.prompted_clip import PromptedCLIP
from trainers.prompts import PromptLearner
from trainers.zsclip import FixedPrompts


def trainer_class(method: str) -> Any:
    """The class of a method, which builds its prompts and its model.

    Raises:
        UnknownNameError: there is no such method; the known ones are listed.
        ValueError: it is one that prompt files are not written for.
    """
    if method not in TRAINER_REGISTRY:
        raise UnknownNameError(
            f"{unknown_name_message(method, TRAINER_REGISTRY.registered_names(), 'method')}. If it is one of somebody's own, put the file that it was "
            "trained with into trainers/ here: that makes it known, with its settings"
        )
    found = TRAINER_REGISTRY.get(method)
    if not hasattr(found, "prompt_settings"):
        raise ValueError(
            f"the trainer {method} says nothing of its prompts (prompt_settings, as trainers.base.PromptTrainer has it), so no file can hold them"
        )
    return found


def default_cfg() -> Any:
    """The engine's config with every method's settings at their defaults, silent."""
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.VERBOSE = False
    return cfg


def cfg_of(file: PromptFile) -> Any:
    """The config of ``file``: its method's settings, its backbone, and how its pictures are prepared.

    Raises:
        UnknownNameError: the method is not known here.
        ValueError: a setting is unknown, or has a value that it cannot have.
    """
    trainer = trainer_class(file.method)  # first, since the settings of an unknown one are unknown, too
    cfg = default_cfg()
    settings = {"TRAINER.NAME": file.method, "MODEL.BACKBONE.NAME": file.backbone.name, **file.settings}
    settings |= {f"INPUT.{key}": value for key, value in file.input.items()}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    if not file.templates:
        trainer.check_cfg(cfg)
    cfg.freeze()
    return cfg


def build_prompts(file: PromptFile, clip_model: CLIP, classnames: Sequence[str]) -> PromptLearner:
    """The prompts of ``file`` for any class names, on the device of ``clip_model``; the global random generators are left alone.

    Raises:
        ValueError: the file's arrays are not those of its method with its settings in this CLIP, a class name is too long, or the method learned
            words for each of its classes and a name is none of them.
    """
    device = clip_model.token_embedding.weight.device
    if file.templates:
        return FixedPrompts(clip_model, classnames, file.templates).to(device)
    cfg, trainer = cfg_of(file), trainer_class(file.method)
    values = dict(file.learned)
    for name in trainer.class_specific(cfg):
        if name in values:
            values[name] = _rows_of(file, name, classnames)
    with torch.random.fork_rng(devices=[]):  # prompts are first drawn, then set
        prompts = trainer.build_prompt_learner(cfg, clip_model, list(classnames))
    LearnedParameters(_as_model(trainer, clip_model, prompts), file.method).load_state_dict(values)
    return prompts.requires_grad_(False).to(device)


def build_model(file: PromptFile, clip_model: CLIP, classnames: Sequence[str], precision: Precision) -> PromptedCLIP:
    """The prompted CLIP of ``file`` with nothing left to learn; ``clip_model`` becomes part of it.

    Raises:
        ValueError: as :func:`build_prompts`.
    """
    prompts = build_prompts(file, clip_model, classnames)
    return trainer_class(file.method).model_class(clip_model, prompts, precision).requires_grad_(False).eval()


def _as_model(trainer: Any, clip_model: CLIP, prompts: PromptLearner) -> PromptedCLIP:
    """``prompts`` in a model that computes as ``clip_model`` is, which is what :class:`LearnedParameters` takes."""
    return trainer.model_class(clip_model, prompts, Precision(clip_model.dtype))


def _rows_of(file: PromptFile, array: str, classnames: Sequence[str]) -> Tensor:
    """The rows of an array with one a class that belong to ``classnames``.

    Raises:
        ValueError: a name is none of the training's, or the array has another number of rows than the training had classes.
    """
    values, rows = file.learned[array], {name: row for row, name in enumerate(file.classnames)}
    if len(values) != len(file.classnames):
        raise ValueError(
            f"{array} holds words for {len(values)} classes (CSC), but {len(file.classnames)} class names are said to be those of the training: "
            "give all of them, in the order of their labels"
        )
    others = [name for name in classnames if name not in rows]
    if others:
        raise ValueError(
            f"{file.method} learned words of its own for each class (CSC), so it knows the {len(rows)} classes of its training alone, and not "
            f"{', '.join(map(repr, others[:5]))}. Choose among: {', '.join(file.classnames[:20])}{', …' if len(rows) > 20 else ''}"
        )
    return values[[rows[name] for name in classnames]]
