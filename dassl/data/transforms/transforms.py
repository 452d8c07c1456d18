"""torchvision's transforms by the names of INPUT.TRANSFORMS, in the order in which they are applied."""

from collections.abc import Callable, Sequence
from typing import Any

import torchvision.transforms as T

from dassl.utils import check_availability

INTERPOLATION_MODES = {
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
    "nearest": T.InterpolationMode.NEAREST,
}
TRANSFORM_NAMES = (
    "random_crop",
    "random_resized_crop",
    "center_crop",
    "random_flip",
    "autoaugment",
    "randaugment",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
    "normalize",
)


def interpolation_mode(cfg: Any) -> T.InterpolationMode:
    """The interpolation that INPUT.INTERPOLATION names."""
    check_availability(cfg.INPUT.INTERPOLATION, list(INTERPOLATION_MODES), "INPUT.INTERPOLATION")
    return INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]


def build_transform(cfg: Any, is_train: bool = True, choices: Sequence[str] | None = None) -> Callable | None:
    """Build the transform of a config.

    In training: the chosen crop, or resizing without one; flip; augmentations of colours; tensor;
    normalisation. In testing: shorter side to the larger of INPUT.SIZE, centre crop, tensor, normalisation.

    Args:
        cfg: the config; reads INPUT.
        is_train: for training or for testing.
        choices: names of TRANSFORM_NAMES; INPUT.TRANSFORMS by default.

    Returns:
        a callable from a PIL image to a tensor [3, height, width]; None with INPUT.NO_TRANSFORM.
    """
    settings = cfg.INPUT
    if settings.NO_TRANSFORM:
        print("Note: no transform is applied (INPUT.NO_TRANSFORM)")
        return None
    choices = settings.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, TRANSFORM_NAMES, "entry of INPUT.TRANSFORMS")
    size, mode = tuple(settings.SIZE), interpolation_mode(cfg)
    test_crop = [T.Resize(max(size), interpolation=mode), T.CenterCrop(size)]
    steps: list[Any] = [] if is_train else test_crop
    if is_train:
        if "random_crop" in choices:
            steps.append(T.RandomCrop(size, padding=settings.CROP_PADDING))
        if "random_resized_crop" in choices:
            steps.append(T.RandomResizedCrop(size, scale=tuple(settings.RRCROP_SCALE), interpolation=mode))
        if "center_crop" in choices:
            steps += test_crop
        if not steps:
            steps.append(T.Resize(size, interpolation=mode))
        if "random_flip" in choices:
            steps.append(T.RandomHorizontalFlip())
        if "autoaugment" in choices:
            steps.append(T.AutoAugment())
        if "randaugment" in choices:
            steps.append(T.RandAugment(settings.RANDAUGMENT_N, settings.RANDAUGMENT_M))
        if "colorjitter" in choices:
            steps.append(T.ColorJitter(*(settings[f"COLORJITTER_{letter}"] for letter in "BCSH")))
        if "randomgrayscale" in choices:
            steps.append(T.RandomGrayscale(p=settings.RGS_P))
        if "gaussian_blur" in choices:
            steps.append(T.RandomApply([T.GaussianBlur(settings.GB_K)], p=settings.GB_P))
    steps.append(T.ToTensor())
    if "normalize" in choices:
        steps.append(T.Normalize(mean=settings.PIXEL_MEAN, std=settings.PIXEL_STD))
    if cfg.VERBOSE:
        shown = " -> ".join(" ".join(repr(step).split()) for step in steps)
        print(f"Transform for {'training' if is_train else 'testing'}: {shown}")
    return T.Compose(steps)
