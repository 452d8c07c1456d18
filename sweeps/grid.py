"""Grids of settings, ``KEY=a,b,c``: their points, and which of them a method's own checks refuse."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .protocols import REPO, Choice, SweepError, concerns, own_settings

# torch, the engine and the methods are imported where a point is checked, so that a sweep without settings of its own starts at once.

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    """One combination of the grid's values.

    Attributes:
        settings: KEY, VALUE pairs.
        name: the same in a folder's name, with the keys' last words where these tell them apart.
    """

    settings: Pairs
    name: str


def read_setting(text: str, option: str) -> tuple[str, list[str]]:
    """KEY and values of ``KEY=a,b,c``; a comma inside brackets parts nothing, so that ``KEY=[1,2],[2,1]`` has two values.

    Raises:
        SweepError: it has another form; ``option`` is named.
    """
    key, equals, rest = text.partition("=")
    values = [value.strip() for value in re.findall(r"(?:\[[^\]]*\]|\([^)]*\)|[^,\[\](])+", rest)]
    if not equals or not re.fullmatch(r"[A-Z]\w*(\.\w+)*", key) or not values or "" in values:
        raise SweepError(f"{option} takes KEY=VALUE, such as TRAINER.MPL.N_ADD_OP=2; received {text!r}")
    return key, values


def read_settings(texts: Iterable[str]) -> Pairs:
    """KEY, VALUE pairs of ``--set KEY=VALUE …``; a value may hold commas.

    Raises:
        SweepError: one has another form, or a key comes twice.
    """
    keys = [read_setting(text, "--set")[0] for text in texts]
    _check_once(keys, "--set")
    return tuple((key, text.partition("=")[2]) for key, text in zip(keys, texts, strict=True))


def points(texts: Sequence[str]) -> list[Point]:
    """All combinations of ``KEY=a,b,c …``, the last key changing fastest; one empty point without any.

    Raises:
        SweepError: one has another form, a key or a value comes twice, or two points would have one name.
    """
    axes = [read_setting(text, "--grid") for text in texts]
    _check_once([key for key, _ in axes], "--grid")
    for key, values in axes:
        _check_once([f"{key}={value}" for value in values], "--grid")
    lasts = [key.rpartition(".")[2] for key, _ in axes]
    names = lasts if len(set(lasts)) == len(lasts) else [key for key, _ in axes]
    found = []
    for combination in itertools.product(*(values for _, values in axes)):
        settings = tuple((key, value) for (key, _), value in zip(axes, combination, strict=True))
        parts = [f"{name}={re.sub(r'[^A-Za-z0-9_.-]+', '_', value).strip('_')}" for name, value in zip(names, combination, strict=True)]
        found.append(Point(settings, ",".join(parts)))
    _check_once([point.name for point in found], "--grid, as folder names,")
    return found


def _check_once(names: Sequence[str], option: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SweepError(f"{option} has {', '.join(twice)} more than once")


def check_keys(choice: Choice, grid: Sequence[Point]) -> None:
    """Refuse settings of a method that is not run, and grids over a setting that some of the methods do not have.

    Raises:
        SweepError: names the keys and the methods.
    """
    methods = ", ".join(choice.methods)
    idle = [key for key, _ in choice.settings if not any(concerns(key, method) for method in choice.methods)]
    if idle:
        raise SweepError(f"--set {', '.join(idle)} would change nothing: it is no setting of {methods}")
    uneven = [key for key, _ in (grid[0].settings if grid else ()) if not all(concerns(key, method) for method in choice.methods)]
    if uneven:
        raise SweepError(
            f"--grid {', '.join(uneven)} would change nothing of some of the methods {methods}: give --methods the others alone"
        )


def refusal(choice: Choice, method: str, dataset: str, config_path: str, root: str) -> str:
    """Why a run of ``method`` cannot have the choice's settings, as the config and the method's own checks say; empty if it can.

    The method's prompts and their schedules are built as a run builds them, on towers of the real sizes, without weights.

    Args:
        choice: its settings are tried.
        method: registered name.
        dataset: name of the dataset's config.
        config_path: the method's config, from the clone's folder.
        root: folder of the datasets.
    """
    import train
    from dassl.config.checks import check_ranges
    from dassl.engine import TRAINER_REGISTRY
    from dassl.engine.failures import message_of
    from reporting.schedules import build_schedules

    words = ["--root", root, "--trainer", method, "--seed", str(choice.seeds[0])]
    words += ["--dataset-config-file", str(REPO / f"configs/datasets/{dataset}.yaml"), "--config-file", str(REPO / config_path)]
    words += [word for pair in own_settings(choice, method).items() for word in pair]
    try:
        cfg = train.setup_cfg(train.build_parser().parse_args(words))
        check_ranges(cfg)
        trainer_class = TRAINER_REGISTRY.get(method)
        trainer_class.__new__(trainer_class).check_cfg(cfg)  # without the data and weights that its constructor reads
        build_schedules(cfg)
    except (ValueError, TypeError, LookupError, OSError) as e:
        return message_of(e).replace("\n", " ")
    return ""


def at_point(choice: Choice, point: Point) -> Choice:
    """The choice with a point's settings, which override its own."""
    return replace(choice, settings=tuple((dict(choice.settings) | dict(point.settings)).items()))
