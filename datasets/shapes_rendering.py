"""The images of Shapes: one coloured form in a messy, camera-like scene, drawn with numpy alone.

Every image is a pure function of (split, label, index), which seed its generator; the global generators are
neither read nor moved. Changing anything here makes another dataset, whose accuracies cannot be compared:
tests/datasets/test_shapes.py pins the pixels.

The style is deliberately unlike the flat icons that the small CLIP `Tiny-Shapes` is trained on
(benchmarks/): any rotation and squash, lit and textured surfaces, cast shadows, clutter, blur and
noise, and cool light over all. The light is a shift that a few images can teach; the rest makes images
differ. All ranges are our choice, set so that zero-shot lies well above chance, and few-shot training
(a linear probe, and fine-tuning of the image tower) well above zero-shot.

S is the side of an image in pixels.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

IMAGE_SIZE = 64  # pixels
SEED = 20250214  # root of every image's generator
SUPERSAMPLING = 3  # the outline is sampled at this many points a pixel along each axis, and averaged

# Split -> images a class. 32 leave the seeds a choice when 16 are drawn; 60 keep an evaluation short.
SPLITS: dict[str, int] = {"train": 32, "val": 8, "test": 60}

# Hue range in degrees. Neighbours (red, orange, yellow) nearly touch, as colour words do.
COLOUR_HUES: dict[str, tuple[float, float]] = {
    "red": (-10, 8),
    "orange": (20, 36),
    "yellow": (48, 64),
    "green": (95, 150),
    "blue": (205, 240),
    "purple": (268, 300),
}

# Lowest and highest gain of the red, green and blue light.
COOL_LIGHT = ((0.45, 0.85, 0.95), (0.7, 1.1, 1.2))


def _cross(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    arm = rng.uniform(0.24, 0.38)
    across, along = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return (across <= arm) & (along <= 0.98)


def _heart(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    x, y = 1.2 * x, 0.12 - 1.15 * y  # image rows grow downwards; the heart's point looks down
    ring = x * x + y * y - 1
    return ring * ring * ring <= x * x * y * y * y


def _star(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    inner = rng.uniform(0.38, 0.55)  # radius of the notches; the five tips are at radius 1
    half_turn = np.pi / 5
    angle = abs((np.arctan2(x, -y) + half_turn) % (2 * half_turn) - half_turn)
    radius = np.hypot(x, y)
    # The edge runs from the tip (1, 0) to the notch; a point is inside if it lies on the centre's side of it.
    notch_x, notch_y = inner * np.cos(half_turn), inner * np.sin(half_turn)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    return (1 - px) * notch_y - py * (1 - notch_x) >= 0


def _triangle(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3  # outward normals of the three sides
    return np.max([x * np.cos(a) + y * np.sin(a) for a in angles], axis=0) <= 0.52


# Form name -> test of which points (x right, y down, the form within about the unit disc) lie inside.
FORMS: dict[str, Callable[[np.ndarray, np.ndarray, Generator], np.ndarray]] = {
    "circle": lambda x, y, rng: x**2 + y**2 <= 0.85,
    "cross": _cross,
    "heart": _heart,
    "square": lambda x, y, rng: np.maximum(abs(x), abs(y)) <= 0.8,
    "star": _star,
    "triangle": _triangle,
}


def class_names() -> list[str]:
    """The 24 class names; the place in the list is the label.

    Labels 0-11 (base) and 12-23 (new) both hold every colour twice and every form twice, in different pairs:
    the new half asks for known words in unseen combinations. Within each half the names are sorted.
    """
    colours, forms = list(COLOUR_HUES), list(FORMS)

    def half(shifts: tuple[int, ...]) -> list[str]:
        pairs = ((i, (i + shift) % len(forms)) for i in range(len(colours)) for shift in shifts)
        return sorted(f"{colours[i]} {forms[j]}" for i, j in pairs)

    return half((0, 1)) + half((2, 3))


def render(split: str, label: int, index: int) -> np.ndarray:
    """Image `index` of class `label` in train, val or test; uint8 RGB [S, S, 3]."""
    rng = np.random.default_rng([SEED, list(SPLITS).index(split), label, index])
    colour, form = class_names()[label].split()
    scene = _with_clutter(_background(rng), rng)
    return _photographed(_with_object(scene, colour, form, rng), rng)


def _background(rng: Generator) -> np.ndarray:
    """A gradient, clouds, stripes or tiles between two related dull colours; float [S, S, 3] in 0-1."""
    hue = rng.uniform(0, 360)
    first = hsv_to_rgb(hue, rng.uniform(0, 0.5), rng.uniform(0.15, 0.95))
    second = hsv_to_rgb(hue + rng.uniform(-60, 60), rng.uniform(0, 0.5), rng.uniform(0.15, 0.95))
    along, across = _turned(*_grid(1), rng.uniform(0, 2 * np.pi))
    period = rng.uniform(4, 12)
    kind = rng.integers(4)
    if kind == 0:
        blend = np.clip(0.5 + 0.5 * along, 0, 1)
    elif kind == 1:
        blend = 0.6 * _clouds(4, rng) + 0.4 * _clouds(9, rng)
    elif kind == 2:
        blend = 0.5 + 0.4 * np.sin(period * along) + 0.1 * _clouds(6, rng)
    else:
        blend = 0.5 + 0.3 * np.sign(np.sin(period * along) * np.sin(period * across)) + 0.2 * _clouds(6, rng)
    return _mix(first, second, blend)


def _with_clutter(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Zero to two small ellipses and bars of any colour behind the object."""
    x, y = _grid(1)
    for _ in range(rng.integers(0, 3)):
        centre_x, centre_y = rng.uniform(-1, 1, 2)
        u, v = _turned(x - centre_x, y - centre_y, rng.uniform(0, np.pi))
        u, v = abs(u) / rng.uniform(0.08, 0.5), abs(v) / rng.uniform(0.05, 0.14)
        distance = np.maximum(u, v) if rng.random() < 0.5 else np.hypot(u, v)
        cover = rng.uniform(0.5, 0.95) * np.clip((1 - distance) * 4, 0, 1)
        colour = hsv_to_rgb(rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.95))
        scene = _mix(scene, colour, cover)
    return scene


def _with_object(scene: np.ndarray, colour: str, form: str, rng: Generator) -> np.ndarray:
    """Lay the form's shadow and then the lit, textured form itself over the scene."""
    mask = _object_mask(form, rng)
    shadow = _blurred(np.roll(mask, tuple(rng.integers(-4, 5, 2)), (0, 1)), 4)
    scene = scene * (1 - rng.uniform(0, 0.6) * shadow)[..., None]
    surface = hsv_to_rgb(rng.uniform(*COLOUR_HUES[colour]), rng.uniform(0.55, 1), rng.uniform(0.55, 1))
    along, _ = _turned(*_grid(1), rng.uniform(0, 2 * np.pi))
    light = 1 + rng.uniform(0, 0.5) * along
    light = light + rng.uniform(0, 0.6) * (_clouds(int(rng.integers(3, 14)), rng) - 0.5)
    return _mix(scene, np.clip(surface * light[..., None], 0, 1), mask * rng.uniform(0.85, 1))


def _object_mask(form: str, rng: Generator) -> np.ndarray:
    """How much of each pixel the rotated, squashed, shifted form covers; [S, S] in 0-1."""
    x, y = _grid(SUPERSAMPLING)
    size = rng.uniform(0.4, 0.75)  # 1 is half the side of the image
    room = 0.95 - size
    x, y = x - rng.uniform(-room, room), y - rng.uniform(-room, room)
    squash, squash_angle, turn = rng.uniform(0.7, 1), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    u, v = _turned(x, y, squash_angle)
    u, v = _turned(u, v / squash, turn)
    inside = FORMS[form](u / size, v / size, rng)
    return inside.reshape(IMAGE_SIZE, SUPERSAMPLING, IMAGE_SIZE, SUPERSAMPLING).mean(axis=(1, 3))


def _photographed(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Cool light, contrast, lens blur and sensor noise; uint8 [S, S, 3]."""
    tint = rng.uniform(*COOL_LIGHT)
    image = 0.5 + (scene * tint - 0.5) * rng.uniform(0.7, 1.1) + rng.uniform(-0.1, 0.1)
    image = _blurred(image, int(rng.integers(0, 3)))
    image = image + rng.normal(0, rng.uniform(0.01, 0.06), image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def hsv_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour of a hue in degrees (any real number), saturation and value in 0-1; float RGB [3] in 0-1."""
    position = (np.array([5.0, 3.0, 1.0]) + hue / 60) % 6
    return value * (1 - saturation * np.clip(np.minimum(position, 4 - position), 0, 1))


def _grid(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x (right) and y (down) of `samples` points a pixel a side, from -1 to 1 over the image."""
    n = IMAGE_SIZE * samples
    line = (np.arange(n) + 0.5) * 2 / n - 1
    return np.broadcast_to(line, (n, n)), np.broadcast_to(line[:, None], (n, n))


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along axes that are turned by `angle`, in radians."""
    return x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)


def _clouds(cells: int, rng: Generator) -> np.ndarray:
    """Smooth noise [S, S] in 0-1: a coarse random grid of `cells` cells a side, interpolated."""
    knots = rng.random((cells + 1, cells + 1))
    place = (np.arange(IMAGE_SIZE) + 0.5) * cells / IMAGE_SIZE
    cell = place.astype(int)
    weight = place - cell
    weight = weight * weight * (3 - 2 * weight)
    rows = knots[cell] * (1 - weight)[:, None] + knots[cell + 1] * weight[:, None]
    return rows[:, cell] * (1 - weight) + rows[:, cell + 1] * weight


def _blurred(image: np.ndarray, times: int) -> np.ndarray:
    """Repeat a (1, 2, 1)/4 blur along both axes; each pass adds half a squared pixel of variance."""
    for _ in range(times):
        for axis in (0, 1):
            lines = image.swapaxes(0, axis)
            before, after = np.concatenate([lines[:1], lines[:-1]]), np.concatenate([lines[1:], lines[-1:]])
            image = (0.5 * lines + 0.25 * (before + after)).swapaxes(0, axis)
    return image


def _mix(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Lay `above` over `below` where `cover` [S, S] says; colours broadcast from [3] to [S, S, 3]."""
    return below + (above - below) * cover[..., None]
