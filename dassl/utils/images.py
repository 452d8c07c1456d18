"""Reading images as RGB, as `Image.open(path).convert("RGB")` gives them, or an error that names the file."""

import os

from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read. Left out are rare ones, and EPS, which Pillow hands to Ghostscript to run."""


class ImageError(OSError, ValueError):
    """An image that is missing or cannot be decoded."""

    def __init__(self, message: str) -> None:
        # A loading process raises it again with its whole traceback as the message.
        super().__init__(message.rpartition("ImageError: ")[2].strip())


def read_image(path: str) -> Image.Image:
    """Read an image as RGB.

    Transparency is dropped, the first frame of an animation is taken, and a rotation that EXIF states is not
    applied, as in the published pipelines.

    Raises:
        ImageError: the file is missing or cannot be decoded, or RGB would cut off its values above 255.
    """
    if not os.path.isfile(path):
        raise ImageError(f"no image at {path}; check DATASET.ROOT, and that the dataset is unpacked in full")
    try:
        Image.init()
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            image.load()
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise ImageError(f"cannot decode the image {path}: {reason}; copy or download it again") from error
    try:
        return to_rgb(image)
    except ValueError as error:
        raise ImageError(f"cannot use the image {path}: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB; ValueError if its values are not those of 8 bits, 0 to 255."""
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers; scale them to 0 to 255 and save 8 bits")
    if image.mode.startswith("I"):
        low, high = image.getextrema()
        if low < 0 or high > 255:  # type: ignore[operator]
            raise ValueError(f"its values go from {low} to {high}; scale them to 0 to 255 and save 8 bits")
    return image.convert("RGB")
