"""Comparing outcomes to the last bit."""

from __future__ import annotations

from typing import Any

import torch


def differing(left: Any, right: Any, path: str = "") -> str:
    """Where two trees of plain data and tensors first differ; empty if they do not."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return "" if left.dtype == right.dtype and torch.equal(left, right) else f"{path}: other values"
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return f"{path}: {sorted(map(str, left.keys() ^ right.keys()))} only on one side"
        return next((found for key in left if (found := differing(left[key], right[key], f"{path}/{key}"))), "")
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            return f"{path}: {len(left)} and {len(right)} entries: {left} {right}"
        return next((found for i, pair in enumerate(zip(left, right, strict=True)) if (found := differing(*pair, f"{path}/{i}"))), "")
    return "" if left == right else f"{path}: {left!r} and {right!r}"


def assert_same(ended: dict[str, Any], whole: dict[str, Any], moment: str) -> None:
    """A run's outcome is, to the last bit, that of the run that was never stopped."""
    for part in ("files", "metrics", "result", "checkpoints"):
        found = differing(ended[part], whole[part], part)
        assert not found, f"{moment}: {found}"
