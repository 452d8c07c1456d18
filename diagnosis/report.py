"""Showing what was found: a table and one block a finding for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dassl.data.cache_folder import FOLDER_NAME

from .findings import DatasetReport, Finding, WeightsReport

PIPE_WIDTH = 200
"""Characters a line where the output is no terminal, so that no cell is cut; our choice: above the widest table."""

LOW_BYTES = 2**30
"""Free space below which it is said; our choice: a few runs with their logs and checkpoints take less."""

COUNTED = ("classes", "train", "val", "test")


def free_bytes(folder: Path) -> int:
    """Free space, in bytes, where `folder` is or will be made."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def picture_cache(root: Path) -> tuple[Path, int]:
    """The folder in which runs keep decoded pictures and features, where DATALOADER.CACHE_DIR names no other, and the bytes of disk that it takes."""
    folder = root / FOLDER_NAME
    try:
        with os.scandir(folder) as entries:
            found = [entry.stat(follow_symlinks=False) for entry in entries]
    except OSError:  # there is none, or it changes while it is looked at
        return folder, 0
    return folder, sum(512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size for status in found)


def disk_finding(folder: Path) -> Finding | None:
    """A finding where little space is left for `folder`; it is no fault of the data."""
    free = free_bytes(folder)
    if free >= LOW_BYTES:
        return None
    what = f"{size(free)} are free where {folder} is; downloads, checkpoints and logs need room"
    return Finding(
        "disk", what, "delete what is not needed, or give a folder on another disk (--root; OUTPUT in the scripts)", False, False
    )


def size(n_bytes: int) -> str:
    """Bytes in GB or MB (powers of 1,000, as disks are sold)."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def console() -> Console:
    """A console for the table: as wide as the terminal, or wide enough where the output is no terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def show_datasets(reports: Sequence[DatasetReport], decode: bool) -> Table:
    """The table of datasets; a count that differs from the published one has that in brackets.

    Args:
        reports: a row each.
        decode: whether the pictures were decoded, which adds a column.
    """
    table = Table(title=None, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("dataset", no_wrap=True)
    for heading in (*COUNTED, "pictures present", *(["unreadable"] if decode else []), "base: classes, test", "new: classes, test"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("state", overflow="fold")
    for report in reports:
        found = {"classes": report.n_classes, **report.counts}
        halves = [f"{half[0]:,}, {half[1]:,}" if half else "-" for half in (report.base, report.new)]
        present = "-" if report.n_present is None else f"{report.n_present:,} of {report.n_named:,}"
        unreadable = ["-" if report.n_unreadable is None else f"{report.n_unreadable:,}"] if decode else []
        counts = [_count(found.get(key), report.published.get(key)) for key in COUNTED]
        table.add_row(report.name, *counts, present, *unreadable, *halves, state(report))
    return table


def _count(found: int | None, published: int | None) -> str:
    if found is None:
        return "-"
    return f"{found:,}" if published in (None, found) else f"{found:,} ({published:,})"


def state(report: DatasetReport) -> str:
    """One or two words on a dataset."""
    n_faults = sum(finding.is_fault for finding in report.findings)
    if report.is_sound:
        return "sound"
    return f"{n_faults} fault{'s' if n_faults > 1 else ''}" if report.is_found else "not there"


def show_weights(reports: Sequence[WeightsReport]) -> Table:
    """The table of weights."""
    table = Table(title=None, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, justify in (("weights", "left"), ("size", "right"), ("state", "left"), ("file", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for report in reports:
        word = "whole" if report.is_sound else "not there" if report.path is None else "damaged"
        table.add_row(report.name, "-" if report.n_bytes is None else size(report.n_bytes), word, report.path or "-")
    return table


def finding_lines(name: str, finding: Finding) -> list[str]:
    """A finding in two lines: what is wrong, and the cure, unbroken so that it can be copied."""
    return [f"{'FAULT' if finding.is_fault else 'note '} {name}: {finding.what}", f"      cure: {finding.cure}"]


def to_json(root: Path, datasets: Sequence[DatasetReport], weights: Sequence[WeightsReport], is_sound: bool) -> dict[str, Any]:
    """Everything that was found, for programs."""
    return {
        "root": str(root),
        "free_bytes": free_bytes(root),
        "picture_cache_bytes": picture_cache(root)[1],
        "is_sound": is_sound,
        "datasets": [{**dataclasses.asdict(report), "is_sound": report.is_sound} for report in datasets],
        "weights": [{**dataclasses.asdict(report), "is_sound": report.is_sound} for report in weights],
    }
