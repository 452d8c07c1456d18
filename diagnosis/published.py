"""The datasets that can be examined: their names, readers and published figures."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml

import datasets  # noqa: F401  (registers every reader)
from dassl.data.datasets import DATASET_REGISTRY
from datasets.base import ImageDataset

PUBLISHED_PATH = Path(__file__).with_name("published.yaml")
CONFIG_DIR = Path(__file__).resolve().parents[1] / "configs" / "datasets"
KEYS = ("classes", "train", "val", "test")


class UnknownDatasetError(ValueError):
    """A name that is no dataset, or one that cannot be examined."""


def read_published(path: Path = PUBLISHED_PATH) -> dict[str, dict[str, int]]:
    """Name in configs/datasets -> published figures ("classes", "train", "val", "test", or some of them).

    Raises ValueError where the file is no such table, FileNotFoundError where there is none.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of counts: {' '.join(str(error).split())}") from error
    for name, figures in table.items() if isinstance(table, dict) else [("the file", table)]:
        if not isinstance(figures, dict) or not all(key in KEYS and type(n) is int and n >= 0 for key, n in figures.items()):
            raise ValueError(
                f"{path}: {name} holds {figures!r}; expected are counts from 0 under {', '.join(KEYS)}, such as {{classes: 10}}."
            )
    return table


@lru_cache(maxsize=1)
def readers() -> dict[str, type[ImageDataset]]:
    """Name in configs/datasets -> reader, of every dataset that has published figures, in their order."""
    return {name: DATASET_REGISTRY.get(_registered_name(name)) for name in read_published()}


def _registered_name(name: str) -> str:
    return yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text(encoding="utf-8"))["DATASET"]["NAME"]


def config_name(given: str) -> str:
    """The name in configs/datasets of a dataset that is given by it or by its registered name; case, - and _ do not matter.

    Raises UnknownDatasetError that lists the known names and the nearest.
    """
    known: Mapping[str, str] = {_plain(n): name for name, r in readers().items() for n in (name, r.__name__)}
    if _plain(given) in known:
        return known[_plain(given)]
    if (CONFIG_DIR / f"{given}.yaml").is_file():
        raise UnknownDatasetError(
            f"{given!r} holds pictures of your own, of which no published figures are known: a run checks them when it starts "
            "(docs/OWN_PICTURES.md)."
        )
    near = difflib.get_close_matches(_plain(given), known, n=1, cutoff=0.5)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    raise UnknownDatasetError(f"There is no dataset {given!r}.{hint} Known: {', '.join(readers())}.")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
