"""Trainers of small runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.small_runs import build


@pytest.fixture
def make(eurosat: Path, weights: dict[str, Path], tmp_path: Path) -> Callable:
    """Builds a trainer by method, KEY, VALUE pairs, size of the CLIP and output folder."""

    def make(method: str, *pairs, size: str = "narrow", output: str = "."):
        return build(method, eurosat, weights[size], tmp_path / output, *pairs)

    return make
