"""Reading pictures: as RGB, as ``Image.open(path).convert("RGB")`` of the published pipelines gives them, or refused with a reason."""

import os
import stat
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever a file's ending says. Pillow knows more; left out are rare ones, and those that are programs (EPS, which Pillow hands
to Ghostscript)."""

MAX_RATIO = 1_000
"""Longest side over shortest; our choice: the shorter side is brought to some 224 pixels, and a picture of 20,000 by 1 would then take 3 GB."""

MODES_BEYOND_8_BITS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of numbers beyond 0 to 255, which its conversion to RGB cuts off at 255."""


class ImageError(OSError, ValueError):
    """A picture that is missing or cannot be decoded; the message names the file and the next step."""

    def __init__(self, message: str) -> None:
        # A loading process re-raises with its whole traceback as the message; what the user needs stands after the
        # last mention of this class.
        _, _, tail = message.rpartition("ImageError: ")
        super().__init__(tail.strip())


def read_image(path: str) -> Image.Image:
    """Read a picture as RGB.

    As in the published pipelines, transparency is dropped, of an animation the first picture is taken, and a rotation that EXIF states is not
    applied.

    Raises:
        ImageError: the file is missing, not a whole picture, or one that RGB would misrepresent (`decode`). It is an OSError and a
            ValueError.
    """
    if not os.path.isfile(path):
        raise ImageError(
            f"no picture at {path}; check DATASET.ROOT and that the dataset is unpacked in full, or that the split file "
            "names the right files"
        )
    try:
        return decode(path)
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise ImageError(
            f"cannot decode the picture {path} ({os.path.getsize(path):,} bytes): {reason_of(error, path)}; "
            "the file is damaged or not a picture that can be used: copy or download it again"
        ) from error


def why_unreadable(path: Path) -> str:
    """Why a picture cannot be decoded to its end; an empty string if it can.

    A JPEG is decoded at an eighth of its size, which is several times faster and still reads the whole stream.
    """
    try:
        decode(str(path), is_draft=True)
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        return reason_of(error, str(path))
    return ""


def decode(path: str, is_draft: bool = False) -> Image.Image:
    """A picture as RGB; with `is_draft`, a JPEG at an eighth of its size.

    Raises:
        ValueError: it is longer than `MAX_RATIO` times its width, or of 16 bits and more with values that 8 bits do not hold.
        Exception: of any kind, where Pillow cannot decode it, or its pixels are so many that it is taken for an attack (`Image.MAX_IMAGE_PIXELS`).
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not an ordinary file")
    with Image.open(path, formats=_formats()) as picture:
        width, height = picture.size
        if max(width, height) > MAX_RATIO * min(width, height):
            raise ValueError(f"{width:,} by {height:,} pixels are too long and narrow; of at most {MAX_RATIO:,} to 1 is read")
        if is_draft:
            picture.draft(None, (max(1, width // 8), max(1, height // 8)))
        picture.load()
        if picture.mode in MODES_BEYOND_8_BITS and _reach(picture) > 255:
            raise ValueError(
                f"it is {picture.mode} (16 bits or more) with values up to {_reach(picture):,}, which RGB of 8 bits would cut off at 255, nearly all "
                "white: save it with 8 bits"
            )
        return picture.convert("RGB")


def picture_size(path: str) -> tuple[int, int]:
    """Width and height of a picture as its head states them; (0, 0) where it cannot be read."""
    try:
        with Image.open(path, formats=_formats()) as picture:
            return picture.size
    except Exception:  # a damaged file makes Pillow's readers raise nearly anything; what reads the picture itself tells it
        return 0, 0


def reason_of(error: Exception, path: str) -> str:
    """What an error of Pillow's says, on one line and without the file's folder."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is no picture of a known format ({', '.join(_formats())})"
    told = " ".join(str(error).replace(path, os.path.basename(path)).split())[:300]
    return told or type(error).__name__


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reach(picture: Image.Image) -> float:
    """The largest value of a picture of one band."""
    return max(value for value in picture.getextrema() if isinstance(value, int | float))
