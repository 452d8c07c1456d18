"""Strange pictures: each becomes what Pillow makes of it, as the published pipelines read pictures, or is named before training."""

import io
import os
import random

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from dassl.utils import ImageError, read_image
from dassl.utils.images import decode, why_unreadable

NOISE = Image.frombytes("RGB", (48, 32), random.Random(0).randbytes(48 * 32 * 3))


def saved(picture, fmt, **options):
    file = io.BytesIO()
    picture.save(file, fmt, **options)
    return file.getvalue()


def with_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(NOISE, "JPEG", exif=exif)


def transparent_palette():
    picture = NOISE.quantize(16)
    return saved(picture, "PNG", transparency=bytes(range(16)))


def animated(fmt):
    return saved(NOISE, fmt, save_all=True, append_images=[Image.new("RGB", NOISE.size, "red")], duration=10)


READ = {  # name -> content
    "grey.png": saved(NOISE.convert("L"), "PNG"),
    "bits.png": saved(NOISE.convert("1"), "PNG"),
    "grey and alpha.png": saved(NOISE.convert("LA"), "PNG"),
    "alpha.png": saved(NOISE.convert("RGBA"), "PNG"),
    "palette.gif": saved(NOISE.quantize(16), "GIF"),
    "palette with transparency.png": transparent_palette(),
    "inks.jpg": saved(NOISE.convert("CMYK"), "JPEG"),
    "turned by EXIF.jpg": with_exif(6),
    "progressive.jpg": saved(NOISE, "JPEG", progressive=True),
    "animated.gif": animated("GIF"),
    "animated.webp": animated("WEBP"),
    "animated.png": animated("PNG"),
    "one pixel.png": saved(Image.new("RGB", (1, 1), "blue"), "PNG"),
    "one pixel.jpg": saved(Image.new("RGB", (1, 1), "blue"), "JPEG"),
    "wide.png": saved(Image.new("RGB", (20_000, 20), "green"), "PNG"),
    "wide.jpg": saved(Image.new("RGB", (20_000, 20), "green"), "JPEG"),
    "PNG of another name.jpg": saved(NOISE, "PNG"),
    "JPEG of another name.png": saved(NOISE, "JPEG"),
    "small 16-bit values.png": saved(Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16)), "PNG"),
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.parametrize("name", READ)
def test_a_picture_becomes_what_pillow_makes_of_it(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(READ[name])
    assert why_unreadable(path) == ""
    with Image.open(path) as picture:
        expected = picture.convert("RGB")
    ours = read_image(str(path))
    assert (ours.mode, ours.size, ours.tobytes()) == ("RGB", expected.size, expected.tobytes())
    cfg = get_cfg_default()
    cfg.INPUT.TRANSFORMS = ["normalize"]
    tensor = build_transform(cfg, is_train=False)(ours)
    assert tensor.shape == (3, 224, 224) and bool(torch.isfinite(tensor).all())


def test_exif_rotation_is_not_applied(tmp_path):
    (tmp_path / "a.jpg").write_bytes(with_exif(6))
    assert read_image(str(tmp_path / "a.jpg")).size == NOISE.size


def huge_png():
    """A PNG whose header says 30,000 by 30,000 pixels."""
    data = bytearray(saved(NOISE, "PNG"))
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


JPEG = saved(NOISE, "JPEG")
REFUSED = {  # name -> content, what is said
    "empty.jpg": (b"", "it is no picture of a known format"),
    "text.jpg": (b"<html>404 Not Found</html>", "it is no picture of a known format"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut.png": (READ["alpha.png"][:-200], ""),
    "bomb.png": (huge_png(), "decompression bomb"),
    "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n", "it is no picture of a known format"),
    "strip.png": (saved(Image.new("RGB", (20_000, 1)), "PNG"), "20,000 by 1 pixels are too long and narrow"),
    "16 bits.png": (
        saved(Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)), "PNG"),
        "values up to 40,000, which RGB of 8 bits would cut",
    ),
    "floats.tiff": (saved(Image.fromarray(np.full((4, 4), 300.5, dtype=np.float32)), "TIFF"), "values up to 300.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_cannot_be_used_is_named_by_the_check_and_by_the_loader(name, tmp_path):
    content, said = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    why = why_unreadable(path)
    assert why and said in why and len(why) < 400 and str(tmp_path) not in why
    with pytest.raises(ImageError) as raised:
        read_image(str(path))
    assert f"cannot decode the picture {path} ({len(content):,} bytes): " in str(raised.value) and said in str(raised.value)


def test_no_program_is_started_for_a_picture(tmp_path):
    """Pillow hands PostScript to Ghostscript; here it is not recognised, while Pillow alone would open it."""
    path = tmp_path / "program.jpg"
    path.write_bytes(REFUSED["program.jpg"][0])
    with Image.open(path) as picture:
        assert picture.format == "EPS"
    assert "no picture of a known format" in why_unreadable(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert why_unreadable(tmp_path / "pipe.jpg") == "it is not an ordinary file"


def test_the_dataset_names_a_strange_picture_before_training(tmp_path, lay_out, read):
    rows = lay_out(tmp_path, "EuroSAT")
    path = tmp_path / "eurosat/2750" / rows["train"][0][0]
    path.write_bytes(REFUSED["16 bits.png"][0])
    with pytest.raises(ValueError, match=r"1 of its pictures under .* cannot be decoded: .*values up to 40,000"):
        read("EuroSAT", tmp_path)


def test_a_draft_is_a_whole_decoding_of_a_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(saved(NOISE.resize((512, 512)), "JPEG"))
    assert decode(str(tmp_path / "a.jpg"), is_draft=True).size == (64, 64)
