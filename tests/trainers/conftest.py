"""A small EuroSAT folder and small weights, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.small_runs import SIZES, build, write_eurosat, write_weights


@pytest.fixture(scope="session")
def eurosat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds a small EuroSAT."""
    return write_eurosat(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files of two pairs of widths."""
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_weights(folder / f"{name}.pt", size) for name, size in SIZES.items()}


@pytest.fixture
def make(eurosat: Path, weights: dict[str, Path], tmp_path: Path) -> Callable:
    """Builds a trainer by method, KEY, VALUE pairs, size of the CLIP and output folder."""

    def make(method: str, *pairs, size: str = "narrow", output: str = "."):
        return build(method, eurosat, weights[size], tmp_path / output, *pairs)

    return make
