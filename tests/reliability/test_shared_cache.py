"""Runs that keep pixels and features beside the same data, at the same time and one after the other, give what a run without gives."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

from tests.trainers.small_runs import write_eurosat

from .conftest import Bench, outcome
from .same import assert_same


def left_by(folder: Path) -> dict[str, Any]:
    """What a run leaves, apart from where it kept pictures."""
    found = outcome(folder)
    found["result"]["config"]["DATALOADER"]["CACHE_GIB"] = None
    return found


def test_two_runs_at_first_use_and_one_after_a_kill(bench: Bench, tmp_path: Path) -> None:
    """IVLP without vision prompts keeps features besides pixels. The kill comes while others write."""
    data = write_eurosat(tmp_path / "data")
    pairs = ("DATASET.ROOT", str(data), "TRAINER.IVLP.PROMPT_DEPTH_VISION", 0)
    status, text = bench.run(tmp_path / "plain", *pairs, "DATALOADER.CACHE_GIB", 0.0, method="IVLP")
    assert status == 0, text
    plain = left_by(tmp_path / "plain")
    assert not (data / ".picture_cache").exists()
    runs = {
        name: bench.start(tmp_path / name, *pairs, "DATALOADER.NUM_WORKERS", n, method="IVLP") for name, n in (("a", 0), ("b", 1), ("c", 0))
    }
    runs["c"].wait_for("epoch [1/3]")
    runs.pop("c").send(signal.SIGKILL)
    for name, run in runs.items():
        assert run.wait() == 0, run.text
        assert "NOTE: the run goes on without" not in run.text
        assert_same(left_by(tmp_path / name), plain, name)
    packs = sorted((data / ".picture_cache").glob("*.cache"))
    assert len(packs) == 5, "pixels of train, val and test, features of val and test"
    for pack in packs:  # what a crash of the machine may leave of them
        with open(pack, "r+b") as file:
            file.seek(pack.stat().st_size // 2)
            file.write(bytes(5000)[: pack.stat().st_size // 2])
    status, text = bench.run(tmp_path / "d", *pairs, method="IVLP")
    assert status == 0, text
    assert_same(left_by(tmp_path / "d"), plain, "with damaged packs")


def test_a_data_folder_that_may_not_be_written(bench: Bench, tmp_path: Path) -> None:
    data = shutil.copytree(
        bench.data, tmp_path / "data", ignore=shutil.ignore_patterns(".picture_cache")
    )  # which other tests may have made
    (data / ".picture_cache").touch()
    runs = [bench.start(tmp_path / name, "DATASET.ROOT", str(data), "DATALOADER.NUM_WORKERS", n) for name, n in (("a", 0), ("b", 2))]
    for run in runs:
        assert run.wait() == 0 and run.text.count("NOTE: the run goes on without the cache") == 1, run.text
    found = [left_by(tmp_path / name) for name in "ab"]
    assert_same(found[0], found[1], "workers")
