"""A sweep of real runs: three of the eleven datasets in miniature, with the small CLIP; killed in the middle, and taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.datasets.conftest import lay_out_aircraft, lay_out_split
from tests.launchers import environment

WORDS = "fewshot --methods MPL --datasets dtd,eurosat,fgvc_aircraft --seeds 1 --shots 2 --cfg tiny_shapes --set OPTIM.MAX_EPOCH=10 DATALOADER.NUM_WORKERS=0"


@pytest.fixture
def miniatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Output folder of runs on DTD, EuroSAT and FGVCAircraft in small, in the true layouts."""
    for key, value in environment(tmp_path).items():
        monkeypatch.setenv(key, value)
    lay_out_split(tmp_path / "data", "DescribableTextures")
    lay_out_split(tmp_path / "data", "EuroSAT")
    lay_out_aircraft(tmp_path / "data")
    return tmp_path / "output"


def test_three_datasets_killed_and_resumed(miniatures: Path, start: Callable, reproduce: Callable, until: Callable) -> None:
    first, second = (miniatures / f"fewshot/{name}/shots_2/MPL/tiny_shapes/seed1/result.json" for name in ("dtd", "eurosat"))
    process = start(WORDS)
    until(second.exists, "the second training began", seconds=120)
    process.kill()
    log_path = miniatures / "sweep" / second.parent.relative_to(miniatures).with_suffix(".log")
    with FileLock(log_path.with_suffix(".lock"), timeout=60):  # held until the training has saved its state and ended
        assert not json.loads(second.read_text())["finished"]
    before = json.loads(first.read_text())
    assert before["finished"]
    _, out, _ = reproduce(f"{WORDS} --plan")
    assert "3 runs: 1 finished, 1 to go on, 1 to run" in out
    status, out, _ = reproduce(WORDS)
    assert status == 0, out
    assert "3 of 3 runs are finished (1 were there); 0 failed or left out" in out
    results = [json.loads(path.read_text()) for path in miniatures.rglob("result.json")]
    assert sorted(r["dataset"] for r in results) == ["DescribableTextures", "EuroSAT", "FGVCAircraft"]
    assert all((r["finished"], r["backbone"], r["epochs_done"], r["n_classes"]) == (True, "Tiny-Shapes", 10, 5) for r in results)
    assert json.loads(first.read_text()) == before
    assert "Results are there" not in log_path.read_text()
    assert log_path.read_text().count("=> result") == 1
