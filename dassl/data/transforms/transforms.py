"""Transforms by name, in the order in which they are applied."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torchvision.transforms as T

from dassl.utils.registry import check_availability

from .ops import Cutout, GaussianNoise, GreyHole, InstanceNormalization, Random2DTranslation

INTERPOLATION_MODES = {
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
    "nearest": T.InterpolationMode.NEAREST,
}

# Each policy is torchvision's AutoAugment policy of that data set.
_POLICIES = {
    "imagenet_policy": T.AutoAugmentPolicy.IMAGENET,
    "cifar10_policy": T.AutoAugmentPolicy.CIFAR10,
    "svhn_policy": T.AutoAugmentPolicy.SVHN,
}

TRANSFORM_NAMES = (
    "random_flip",
    "random_resized_crop",
    "random_crop",
    "random_translation",
    "center_crop",
    "normalize",
    "instance_norm",
    "cutout",
    "gaussian_noise",
    "gaussian_blur",
    "colorjitter",
    "randomgrayscale",
    "autoaugment",
    *_POLICIES,
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
)


def interpolation_mode(cfg: Any) -> T.InterpolationMode:
    """The interpolation that INPUT.INTERPOLATION names; KeyError lists the known ones."""
    check_availability(cfg.INPUT.INTERPOLATION, list(INTERPOLATION_MODES), "INPUT.INTERPOLATION")
    return INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]


def build_transform(cfg: Any, is_train: bool = True, choices: Sequence[str] | None = None) -> Callable | None:
    """Build the transform of a config.

    In training: to INPUT.SIZE by the crop that is chosen, or by resizing if none is; flip; augmentations of colours;
    tensor; cutout, normalisation and noise. In testing: shorter side to the larger of INPUT.SIZE, centre crop, tensor,
    normalisation.

    Args:
        cfg: the config; reads INPUT.
        is_train: for training or for testing.
        choices: names of TRANSFORM_NAMES; INPUT.TRANSFORMS by default.

    Returns:
        a callable from a PIL picture to a tensor [3, height, width], or None with INPUT.NO_TRANSFORM.

    Raises:
        KeyError: an unknown transform or interpolation.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied (INPUT.NO_TRANSFORM)")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, TRANSFORM_NAMES, "entry of INPUT.TRANSFORMS")
    steps = _to_size_in_training(cfg, choices) + _augmentations(cfg, choices) if is_train else _to_size_in_testing(cfg)
    steps.append(T.ToTensor())
    if is_train and "cutout" in choices:
        steps.append(Cutout(cfg.INPUT.CUTOUT_N, cfg.INPUT.CUTOUT_LEN))
    if "normalize" in choices:
        steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
    if is_train and "gaussian_noise" in choices:
        steps.append(GaussianNoise(cfg.INPUT.GN_MEAN, cfg.INPUT.GN_STD))
    if "instance_norm" in choices:
        steps.append(InstanceNormalization())
    if cfg.VERBOSE:
        print(f"Transform for {'training' if is_train else 'testing'}: " + " -> ".join(map(_one_line, steps)))
    return T.Compose(steps)


def _one_line(step: Any) -> str:
    name = type(step).__name__
    return name if "object at 0x" in repr(step) else " ".join(repr(step).split())


def _to_size_in_testing(cfg: Any) -> list:
    mode, size = interpolation_mode(cfg), tuple(cfg.INPUT.SIZE)
    return [T.Resize(max(size), interpolation=mode), T.CenterCrop(size)]


def _to_size_in_training(cfg: Any, choices: Sequence[str]) -> list:
    mode, size = interpolation_mode(cfg), tuple(cfg.INPUT.SIZE)
    steps = []
    if "random_translation" in choices:
        steps.append(Random2DTranslation(size[0], size[1], interpolation=mode))
    if "random_crop" in choices:
        steps.append(T.RandomCrop(size, padding=cfg.INPUT.CROP_PADDING))
    if "random_resized_crop" in choices:
        steps.append(T.RandomResizedCrop(size, scale=tuple(cfg.INPUT.RRCROP_SCALE), interpolation=mode))
    if "center_crop" in choices:
        steps += _to_size_in_testing(cfg)
    return steps or [T.Resize(size, interpolation=mode)]


def _augmentations(cfg: Any, choices: Sequence[str]) -> list:
    """Augmentations of the PIL picture, in their order of application."""
    settings = cfg.INPUT
    n_ops = settings.RANDAUGMENT_N
    jitter = (settings.COLORJITTER_B, settings.COLORJITTER_C, settings.COLORJITTER_S, settings.COLORJITTER_H)
    makers: dict[str, Callable[[], list]] = {
        "random_flip": lambda: [T.RandomHorizontalFlip()],
        "autoaugment": lambda: [T.AutoAugment()],
        **{name: partial(_auto_augment, policy) for name, policy in _POLICIES.items()},
        "randaugment": lambda: [T.RandAugment(n_ops, settings.RANDAUGMENT_M)],
        # Operations of random kind and strength, each with its probability; FixMatch's end with a grey hole.
        "randaugment_fixmatch": lambda: [*_random_ops(n_ops, 0.5), GreyHole()],
        "randaugment2": lambda: _random_ops(n_ops, 0.6),
        "colorjitter": lambda: [T.ColorJitter(*jitter)],
        "randomgrayscale": lambda: [T.RandomGrayscale(p=settings.RGS_P)],
        "gaussian_blur": lambda: [T.RandomApply([T.GaussianBlur(settings.GB_K)], p=settings.GB_P)],
    }
    return [step for name, make in makers.items() if name in choices for step in make()]


def _auto_augment(policy: T.AutoAugmentPolicy) -> list:
    return [T.AutoAugment(policy)]


def _random_ops(n_ops: int, probability: float) -> list:
    return [T.RandomApply([T.TrivialAugmentWide()], p=probability) for _ in range(n_ops)]
