"""What happens to an image between the file and the model."""

from .transforms import INTERPOLATION_MODES, TRANSFORM_NAMES, build_transform, whole_image

__all__ = ["INTERPOLATION_MODES", "TRANSFORM_NAMES", "build_transform", "whole_image"]
