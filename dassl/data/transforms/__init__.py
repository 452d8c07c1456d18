"""What happens to an image between the file and the model."""

from .transforms import TRANSFORM_NAMES, build_transform
