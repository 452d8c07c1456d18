"""tools/benchmark_pictures.py times three sides that give the same batches."""

from __future__ import annotations

import argparse
import os

import pytest

from tools import benchmark_pictures


@pytest.mark.parametrize("is_train", [False, True])
def test_a_row_has_all_sides_and_what_is_kept(is_train: bool) -> None:
    args = argparse.Namespace(pictures=100, repeats=1, workers=0, from_disk=hasattr(os, "posix_fadvise"))
    row = benchmark_pictures.measure((64, 64, "jpg"), is_train, args)
    assert all(row[side] > 0 for side in ("without", "first", "later"))
    side = 64 if is_train else 224  # decoded alone, or resized too
    kept = 100 * (3 * side * side + 4) + 16 + 8 * 100 + 4
    assert row["kept_mib"] * 2**20 == kept
