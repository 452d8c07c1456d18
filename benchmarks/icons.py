"""Captioned icons: the endless image-and-text pairs that `tiny_shapes.py` trains the small CLIP on.

They play the part of the web pairs behind CLIP: flat drawings, mostly upright, on plain or simply patterned
backgrounds, a few with a faint grain, and captions that name some of what is seen, in many wordings, at
times with noise around them. The Shapes dataset (`datasets/shapes_rendering.py`) holds some of the same
words but none of this style, and nothing is shared between the two renderers. Colours, forms and wordings
here are many more than Shapes has, and no pair of them is favoured.
"""

import math
import random
import string
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

IMAGE_SIZE = 64  # pixels
SUPERSAMPLING = 3  # icons are drawn this many times larger along each axis and then averaged down
GRAIN_CHANCE = 0.3
ANY_TURN_CHANCE = 1 / 3

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (231, 60, 50),
    "orange": (243, 145, 38),
    "yellow": (250, 218, 60),
    "green": (62, 175, 82),
    "blue": (58, 110, 220),
    "purple": (145, 75, 190),
    "pink": (250, 150, 190),
    "brown": (130, 85, 50),
    "black": (25, 25, 28),
    "white": (248, 248, 246),
    "gray": (140, 142, 145),
    "teal": (25, 150, 150),
    "navy": (30, 40, 100),
    "maroon": (120, 25, 40),
    "beige": (228, 212, 180),
    "lime": (170, 225, 60),
}

Point = tuple[float, float]


def _arc(first: float, span: float, n: int = 30) -> list[Point]:
    """n + 1 points of the unit circle from the angle `first` on, in degrees; -90 is up."""
    angles = (math.radians(first + span * i / n) for i in range(n + 1))
    return [(math.cos(a), math.sin(a)) for a in angles]


def _regular(n_sides: int, first: float = -90.0) -> list[Point]:
    """Corners of a regular polygon."""
    return _arc(first, 360, n_sides)[:-1]


def _star() -> list[Point]:
    tips, notches = _regular(5), _regular(5, -54.0)
    return [p for tip, (x, y) in zip(tips, notches, strict=True) for p in (tip, (0.42 * x, 0.42 * y))]


def _heart() -> list[Point]:
    """The well-known sine and cosine curve of a heart, fitted into the unit circle."""
    points = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -(y + 2.5) / 17))
    return points


# Form name -> its outline in the unit circle, x right and y down.
FORMS: dict[str, list[Point]] = {
    "circle": _regular(48),
    "oval": [(x, 0.6 * y) for x, y in _regular(48)],
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "rectangle": [(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)],
    "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)],
    "triangle": _regular(3),
    "pentagon": _regular(5),
    "hexagon": _regular(6),
    "octagon": _regular(8, -67.5),
    "star": _star(),
    "heart": _heart(),
    "cross": [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)]
    + [(0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
    "arrow": [(-1, -0.25), (0.1, -0.25), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.25), (-1, 0.25)],
    "crescent": _arc(40, 280) + [(0.30 + 0.78 * x, 0.82 * y) for x, y in _arc(302, -244)],
    "semicircle": [(x, 0.45 - y) for x, y in _arc(0, 180)],
    "trapezoid": [(-0.5, -0.6), (0.5, -0.6), (1, 0.6), (-1, 0.6)],
    "house": [(0, -1), (0.9, -0.2), (0.7, -0.2), (0.7, 0.8), (-0.7, 0.8), (-0.7, -0.2), (-0.9, -0.2)],
    "drop": [(0, -1), *((0.62 * x, 0.35 + 0.62 * y) for x, y in _arc(-30, 240))],
}
# Word for a size -> range of the radius, as a part of half the image.
SIZE_WORDS = {"small": (0.24, 0.36), "": (0.36, 0.62), "large": (0.62, 0.86)}
# Word for a fill -> how often it is drawn, relative to the others.
FILL_WORDS = {"": 6, "outlined": 2, "striped": 1, "dotted": 1}

TEMPLATES = (
    "a photo of a {}.", "a photo of the {}.", "a picture of a {}", "an image of a {}.",
    "a drawing of a {}.", "an icon of a {}", "{}", "{}.", "a {}", "the {}.", "one {}", "this is a {}.",
    "there is a {} here", "art of the {}.", "itap of a {}.", "a {} in a picture", "clip art: {}",
    "{} icon", "{} vector illustration", "a simple {}",
)  # fmt: skip
NOISE_WORDS = (
    "free", "stock", "download", "hd", "vector", "isolated", "png", "design", "new",
    "my", "best", "img", "photo", "no", "web", "art",
)  # fmt: skip


class Icon(NamedTuple):
    """What one icon is; `size` and `fill` are the words for it, "" where nothing is said."""

    colour: str
    form: str
    size: str
    fill: str

    def words(self, rng: random.Random) -> str:
        """The icon in words: colour and form always, its size and fill about half of the time."""
        adjectives = [word for word in (self.size, self.fill) if word and rng.random() < 0.5]
        return " ".join([*adjectives, self.colour, self.form])


def captioned_icon(seed: str) -> tuple[Image.Image, str]:
    """Draw one scene of one or two icons.

    Args:
        seed: any text; the same text always gives the same pair, and no global generator is touched.

    Returns:
        an RGB image of `IMAGE_SIZE` pixels a side, and its caption.
    """
    rng = random.Random(seed)
    background = rng.choice(list(COLOURS))
    icons = []
    for _ in range(2 if rng.random() < 0.2 else 1):
        colour = rng.choice([c for c in COLOURS if c != background])
        fill = rng.choices(list(FILL_WORDS), list(FILL_WORDS.values()))[0]
        icons.append(Icon(colour, rng.choice(list(FORMS)), rng.choice(list(SIZE_WORDS)), fill))
    canvas = _background(background, rng)
    if len(icons) == 1:
        radius = rng.uniform(*SIZE_WORDS[icons[0].size])  # in halves of the image's side, as the centre is
        room = 0.95 - radius
        _draw(canvas, icons[0], (rng.uniform(-room, room), rng.uniform(-room, room)), radius, rng)
    else:
        for icon, x in zip(icons, (-0.5, 0.5), strict=True):
            _draw(canvas, icon, (x, rng.uniform(-0.4, 0.4)), rng.uniform(0.28, 0.44), rng)
    if rng.random() < GRAIN_CHANCE:  # as of a scan or of compression
        numbers = np.random.default_rng(rng.getrandbits(64))
        grain = numbers.normal(0, rng.uniform(2, 12), (IMAGE_SIZE, IMAGE_SIZE, 3))
        canvas = Image.fromarray(np.clip(np.asarray(canvas) + grain, 0, 255).astype(np.uint8))
    return canvas, _caption(icons, background, rng)


def _tone(colour: str, rng: random.Random, brightness: float = 1.0) -> tuple[int, int, int]:
    """A tone near the named colour, times a brightness; the spread of 14 of 255 is our choice."""
    red, green, blue = (min(255, max(0, round(brightness * rng.gauss(c, 14)))) for c in COLOURS[colour])
    return red, green, blue


def _background(colour: str, rng: random.Random) -> Image.Image:
    """A ground in the named colour: plain in half of the images, else two tones in a pattern."""
    size = (IMAGE_SIZE, IMAGE_SIZE)
    ground = Image.new("RGB", size, _tone(colour, rng))
    kind = rng.choice(("plain", "plain", "plain", "gradient", "stripes", "checks"))
    if kind == "plain":
        return ground
    pattern = Image.linear_gradient("L").resize(size) if kind == "gradient" else Image.new("L", size, 0)
    if kind != "gradient":
        pen, step = ImageDraw.Draw(pattern), rng.randint(4, 16)
        for i, x in enumerate(range(0, IMAGE_SIZE, step)):
            for j, y in enumerate(range(0, IMAGE_SIZE, step)):
                if (i if kind == "stripes" else i + j) % 2:
                    pen.rectangle((x, y, x + step - 1, y + step - 1), fill=255)
    tone = _tone(colour, rng, rng.uniform(0.6, 0.9))
    ground.paste(tone, mask=pattern.rotate(rng.choice((0, 90, 180, 270))))
    return ground


def _draw(canvas: Image.Image, icon: Icon, centre: Point, radius: float, rng: random.Random) -> None:
    """Draw the icon, stretched a little, and turned by up to 25 degrees or, at times, by any angle."""
    centre_x, centre_y = centre
    side = IMAGE_SIZE * SUPERSAMPLING
    half = side / 2
    turn = math.radians(rng.uniform(-180, 180) if rng.random() < ANY_TURN_CHANCE else rng.uniform(-25, 25))
    cos, sin, stretch = math.cos(turn), math.sin(turn), rng.uniform(0.85, 1.0)
    corners = []
    for x, y in FORMS[icon.form]:
        y = y * stretch
        turned_x, turned_y = x * cos - y * sin, x * sin + y * cos
        corners.append(((1 + centre_x + radius * turned_x) * half, (1 + centre_y + radius * turned_y) * half))
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    if icon.fill == "outlined":
        width = max(4, round(0.16 * radius * half))
        pen.line([*corners, corners[0], corners[1]], fill=255, width=width, joint="curve")
    else:
        pen.polygon(corners, fill=255)
    if icon.fill == "striped":
        _cut_stripes(mask, radius * half, rng)
    elif icon.fill == "dotted":
        _cut_dots(mask, radius * half, rng)
    canvas.paste(_tone(icon.colour, rng, rng.uniform(0.8, 1.1)), mask=mask.reduce(SUPERSAMPLING))


def _cut_stripes(mask: Image.Image, radius: float, rng: random.Random) -> None:
    """Cut bars of about an eighth of the form out of it."""
    pen, step = ImageDraw.Draw(mask), max(8.0, radius / 2)
    upright = rng.random() < 0.5
    for i in range(int(mask.width / step) + 1):
        low, high = i * step, i * step + 0.4 * step
        pen.rectangle((low, 0, high, mask.height) if upright else (0, low, mask.width, high), fill=0)


def _cut_dots(mask: Image.Image, radius: float, rng: random.Random) -> None:
    """Cut a grid of round holes out of the form."""
    pen, step = ImageDraw.Draw(mask), max(10.0, radius / 2)
    shift, hole = rng.uniform(0, step), 0.28 * step
    for i in range(-1, int(mask.width / step) + 1):
        for j in range(-1, int(mask.height / step) + 1):
            x, y = i * step + shift, j * step + shift
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)


def _caption(icons: list[Icon], background: str, rng: random.Random) -> str:
    """The icons in words; the background is named a quarter of the time, and a quarter carry web noise."""
    text = " and a ".join(icon.words(rng) for icon in icons)
    if rng.random() < 0.25:
        text = f"{text} on a {background} background"
    text = rng.choice(TEMPLATES).format(text)
    if rng.random() < 0.25:
        noise = " ".join(_noise_word(rng) for _ in range(rng.randint(1, 4)))
        text = f"{noise} {text}" if rng.random() < 0.6 else f"{text} {noise}"
    return text


def _noise_word(rng: random.Random) -> str:
    """A stock word, or letters and digits as in a file's name."""
    if rng.random() < 0.4:
        return rng.choice(NOISE_WORDS)
    return "".join(rng.choice(string.ascii_lowercase + string.digits) for _ in range(rng.randint(1, 5)))
