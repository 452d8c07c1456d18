"""Figures from the papers, each with its source: `published_results.json`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

PUBLISHED_PATH = Path(__file__).with_name("published_results.json")
PUBLISHED_BACKBONE, PUBLISHED_SHOTS = "ViT-B/16", 16  # what the figures were measured with (the file's note)
SECTIONS = {"base2new": "base_to_new", "xd": "cross_dataset", "dg": "domain_generalization"}
IMAGENET = "ImageNet"
IMAGENET_VARIANTS = ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
BENCHMARK = (  # the 11 datasets in the order of the papers' tables
    IMAGENET, "Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "FGVCAircraft", "SUN397",
    "DescribableTextures", "EuroSAT", "UCF101",
)  # fmt: skip


def harmonic_mean(base: float, new: float) -> float:
    """Harmonic mean of two accuracies (Xian et al., CVPR 2017), the papers' H; 0 if both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """The whole file."""
    return json.loads(PUBLISHED_PATH.read_text(encoding="utf-8"))


def expected_datasets(protocol: str) -> tuple[str, ...]:
    """The datasets that the papers average over: 11 for base2new and fewshot, 10 for xd, 4 for dg."""
    return {"xd": BENCHMARK[1:], "dg": IMAGENET_VARIANTS}.get(protocol, BENCHMARK)


def figure(protocol: str, method: str, dataset: str, metric: str) -> float | None:
    """The published accuracy in percent, or None where no paper at hand gives it.

    Args:
        protocol: base2new, xd or dg.
        method: name of the trainer.
        dataset: name of the dataset, or "average".
        metric: base, new or H for base2new; accuracy for the others.
    """
    entry = published().get(SECTIONS.get(protocol, ""), {}).get(method, {}).get(dataset)
    return entry.get(metric) if isinstance(entry, dict) else entry


def average(protocol: str, method: str, datasets: Iterable[str], metric: str) -> float | None:
    """The published average over `datasets`: as printed if these are all of the paper's, else computed from its figures for them.

    H is the harmonic mean of the averages, as the papers have it. None where a figure is missing.
    """
    names = list(datasets)
    if set(names) == set(expected_datasets(protocol)):
        return figure(protocol, method, "average", metric)
    if metric == "H":
        base, new = (average(protocol, method, names, half) for half in ("base", "new"))
        return None if base is None or new is None else harmonic_mean(base, new)
    values = [figure(protocol, method, name, metric) for name in names]
    present = [value for value in values if value is not None]
    return statistics.mean(present) if present and len(present) == len(values) else None


def sources() -> list[str]:
    """The papers that the figures are from, a line each."""
    return [f"{methods}: {paper}" for methods, paper in published()["sources"].items()]


def mpl_claims(protocols: Sequence[str] = ("base2new", "xd")) -> list[str]:
    """What the MPL paper says of its averages, for the protocols in question; its table for each dataset is not at hand."""
    claims = published()["MPL_claims"]
    names = {"base2new": "base-to-new", "xd": "cross-dataset"}
    return [f"{names[p]}: {claims[SECTIONS[p]]}" for p in protocols if p in names]
