"""A sweep of real runs: three of the eleven datasets in miniature, with the small CLIP; killed in the middle, and taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.conftest import lay_out_aircraft, lay_out_split
from tests.launchers import environment

WORDS = "base2new --methods MPL --datasets dtd,eurosat,fgvc_aircraft --seeds 1 --shots 2 --cfg tiny_shapes --set OPTIM.MAX_EPOCH=2 DATALOADER.NUM_WORKERS=0"


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
    first, second = (miniatures / f"base2new/train_base/{name}/shots_2/MPL/tiny_shapes/seed1/result.json" for name in ("dtd", "eurosat"))
    process = start(WORDS)
    until(second.exists, "the second training began", seconds=120)
    process.kill()
    log_path = miniatures / "sweep" / second.parent.relative_to(miniatures).with_suffix(".log")
    before = json.loads(first.read_text())
    assert before["finished"]
    _, out, _ = reproduce(f"{WORDS} --plan")
    assert "2 finished" in out
    status, out, _ = reproduce(WORDS)
    assert status == 0, out
    assert "6 of 6 runs are finished (2 were there); 0 failed or left out" in out
    results = [json.loads(path.read_text()) for path in miniatures.rglob("result.json")]
    assert sorted((r["dataset"], r["subsample"]) for r in results) == sorted(
        (name, half) for name in ("DescribableTextures", "EuroSAT", "FGVCAircraft") for half in ("base", "new")
    )
    assert all(r["finished"] and r["backbone"] == "Tiny-Shapes" and r["epochs_done"] in (2, None) for r in results)
    assert json.loads(first.read_text()) == before
    assert "Results are there" not in log_path.read_text()
    assert log_path.read_text().count("=> result") == 1
