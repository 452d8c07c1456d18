"""From a prompt file to its prompted CLIP, by the code that training uses."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import datasets
import trainers
from clip import CLIP
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from trainers.learned import LearnedParameters
from trainers.precision import Precision
from trainers.prompt_file import PromptFile
from trainers.prompted_clip import PromptedCLIP
from trainers.zsclip import FixedPrompts


def default_cfg() -> Any:
    """The engine's config with the settings of every dataset and method at their defaults."""
    cfg = get_cfg_default()
    datasets.extend_cfg(cfg)
    trainers.extend_cfg(cfg)
    cfg.VERBOSE = False
    return cfg


def cfg_of(file: PromptFile, classnames: Sequence[str] = ()) -> Any:
    """The config of `file`: its method's settings, backbone and data, which are new for other classes."""
    cfg = default_cfg()
    settings = {"TRAINER.NAME": file.method, "MODEL.BACKBONE.NAME": file.backbone.name, **file.settings}
    part = file.subsample if set(classnames) <= set(file.classnames) else "new"
    settings |= {"DATASET.NAME": file.dataset or "", "DATASET.SUBSAMPLE_CLASSES": part or "all"}
    settings |= {f"INPUT.{key}": value for key, value in file.input.items()}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    cfg.freeze()
    return cfg


def build_model(
    file: PromptFile, clip_model: CLIP, classnames: Sequence[str], precision: Precision | None = None
) -> PromptedCLIP:
    """The prompted CLIP of `file` for any class names, on the device of `clip_model`, which joins it.

    Raises:
        ValueError: the file's arrays are not those of its method with its settings in this CLIP, a class name
            is too long, or the method learned context for each class and a name is none of them.
    """
    trainer, values = TRAINER_REGISTRY.get(file.method), dict(file.learned)
    precision = precision or Precision(device_type=clip_model.logit_scale.device.type)
    if file.templates:
        prompts = FixedPrompts(clip_model, classnames, file.templates)
    else:
        cfg = cfg_of(file, classnames)
        for name in values.keys() & set(trainer.class_specific(cfg)):
            values[name] = _rows_of_classes(file, name, classnames)
        with torch.random.fork_rng(devices=[]):  # the prompts are drawn before they are loaded
            prompts = trainer.build_prompt_learner(cfg, clip_model, list(classnames))
    model = trainer.model_class(clip_model, prompts, precision)
    is_class_specific = not file.templates and bool(trainer.class_specific(cfg_of(file)))
    LearnedParameters(model, file.method, is_class_specific).load_state_dict(values)
    model.keeps_text = True  # the prompts stay as they are
    return model.requires_grad_(False).eval().to(clip_model.logit_scale.device)


def _rows_of_classes(file: PromptFile, array: str, classnames: Sequence[str]) -> Tensor:
    values, rows = file.learned[array], {name: row for row, name in enumerate(file.classnames)}
    if len(values) != len(file.classnames):
        raise ValueError(
            f"{array} holds context for {len(values)} classes (CSC), and {len(file.classnames)} class names "
            "are given for them: give all of the training's, in the order of their labels"
        )
    if tuple(classnames) == file.classnames:  # in which a name may stand twice
        return values
    unknown = [name for name in classnames if name not in rows]
    if unknown:
        raise ValueError(
            f"{file.method} learned context for each class (CSC), so it knows only the classes of its "
            f"training, not {', '.join(map(repr, unknown[:5]))}. Choose among: {', '.join(file.classnames)}"
        )
    return values[[rows[name] for name in classnames]]
