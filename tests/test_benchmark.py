"""The two sides of tools/benchmark.py compute the same, so that their times can be compared; its and its like's arguments are looked at before work."""

from __future__ import annotations

import argparse
import json
import os
import sys
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from clip import CLIP, CLIPConfig
from clip.fast import FastPaths
from datasets.eurosat import EuroSAT
from tests.trainers.small_runs import config
from tools import benchmark, benchmark_pictures, growth, time_runs
from tools.published_way import PublishedWay
from trainers.precision import choose_precision

NAMES = ["forest", "sea or lake", "annual crop land"]


@pytest.fixture(scope="module")
def model() -> CLIP:
    torch.manual_seed(0)
    return CLIP(CLIPConfig(32, 32, 4, 64, 16, 77, 49408, 64, 3))


@pytest.mark.parametrize("method", benchmark.TRAIN_BATCHES)
def test_the_published_way_and_every_variant_of_ours_give_the_same_logits(method: str, model: CLIP) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ours = benchmark.Variant(method, model, NAMES, FastPaths())
    with torch.no_grad():
        published = PublishedWay(ours.model)(images)
        assert published.shape == (2, 3)
        for fast in benchmark.VARIANTS.values():
            found = benchmark.Variant(method, model, NAMES, fast, ours.learner)(images)
            torch.testing.assert_close(found, published, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prec", ["bf16", "amp"])
def test_both_sides_compute_in_the_precision_that_is_asked_for(prec: str, model: CLIP) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ours = benchmark.Variant("MPL", model, NAMES, FastPaths(), prec=prec)
    assert ours.model.precision == choose_precision(prec, torch.device("cpu"))
    with torch.no_grad():
        logits = [PublishedWay(ours.model)(images).float(), ours(images)]
        exact = benchmark.Variant("MPL", model, NAMES, FastPaths(), ours.learner)(images)
    for side in logits:
        assert 0 < (side - exact).abs().max() < 1 or ours.model.precision.name == "fp32"  # of some 14


@pytest.mark.parametrize("method", ["MPL", "CoCoOp"])
def test_a_measurement_has_every_side_and_a_line_for_each(method: str, model: CLIP) -> None:
    args = argparse.Namespace(repeats=1, test_pictures=200, skip_published_above=0, no_memory=True, prec="")
    row = benchmark.measure(method, model, 3, args, torch.device("cpu"))
    assert set(row["step_seconds"]) == {"published", *benchmark.VARIANTS}
    assert all(seconds > 0 for seconds in row["step_seconds"].values())
    assert {"published", "ours"} <= set(row["eval_pictures_per_second"])
    lines = benchmark.table([row]).splitlines()
    assert len(lines) == 2 + len(row["step_seconds"]) + (method == "MPL")
    args.skip_published_above = 2
    row = benchmark.measure(method, model, 3, args, torch.device("cpu"))
    assert set(row["step_seconds"]) == {name for name, fast in benchmark.VARIANTS.items() if fast.trim_text}
    assert "published" in row["eval_pictures_per_second"], "an evaluation needs little memory"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the peak")
def test_the_memory_of_a_step_is_that_of_a_process_of_its_own(model: CLIP) -> None:
    ballast = torch.ones(1 << 29)  # 2 GiB in this process, which do not count
    found = benchmark.peaks("MPL", model, 3, {"ours": lambda: None}, torch.device("cpu"))["ours"]
    assert found is not None
    assert 100 << 20 < found < 4 * len(ballast)


def test_growth_measures_both_sides_and_draws_every_axis(model: CLIP, tmp_path: Path) -> None:
    rows = [growth.measure(model, replace(growth.Setting(), classes=3, depth=3), True, 1, torch.device("cpu"))]
    assert (rows[0]["classes"], rows[0]["vision_prompts"]) == (3, 1 + 2 * (2 - 1))  # layers 1 and 2 add two and remove one
    assert all(rows[0]["step_seconds"][side] > 0 for side in ("published", "ours"))
    rows = [{**deepcopy(rows[0]), **asdict(setting)} for setting in growth.settings()]
    del rows[-1]["step_seconds"]["published"], rows[-1]["step_peak_bytes"]["published"]  # a side may be left out
    assert len(growth.table(rows).splitlines()) == 2 + sum(map(len, growth.AXES.values())) - (len(growth.AXES) - 1)
    axes = growth.draw(rows).axes
    assert [a.get_xlabel() for a in axes[len(growth.AXES) :]] == list(growth.LABELS.values())
    for column, values in enumerate(growth.AXES.values()):
        ours = next(line for line in axes[column].lines if line.get_label() == "ours")
        assert tuple(ours.get_xdata()) == values


NO_DEVICE, NO_FILE = "there is no device 'cuda:99' here; seen: cpu", "cannot write the file"
REFUSED = [  # tool, words, what is told
    (benchmark, "--method Foo", "argument --method: takes MPL, MaPLe, CoOp, CoCoOp with commas between them; received 'Foo'"),
    (benchmark, "--classes x", "argument --classes: takes numbers of 1 or more with commas between them; received 'x'"),
    (benchmark, "--classes 5,0", "argument --classes: takes numbers of 1 or more with commas between them; received '5,0'"),
    (benchmark, "--repeats 0", "argument --repeats: takes a number of 1 or more; received '0'"),
    (benchmark, "--test-pictures -1", "argument --test-pictures: takes a number of 1 or more; received '-1'"),
    (benchmark, "--device cuda:99", NO_DEVICE),
    (benchmark_pictures, "--pictures 99", "argument --pictures: takes a number of 100 or more; received '99'"),
    (benchmark_pictures, "--workers -1", "argument --workers: takes a number of 0 or more; received '-1'"),
    (growth, "--device cuda:99", NO_DEVICE),
    (growth, "--repeats 0", "argument --repeats: takes a number of 1 or more; received '0'"),
    (growth, "--from-json none.json", "argument --from-json: cannot read none.json: No such file or directory"),
    (
        growth,
        "--from-json empty.json",
        "argument --from-json: empty.json holds no figures as --json of this tool writes them; measure anew",
    ),
    (
        growth,
        "--from-json other.json",
        "argument --from-json: other.json holds no figures as --json of this tool writes them; measure anew",
    ),
    (growth, "--from-json part.json", "part.json lacks 18 of the settings, Setting(classes=10, n_ctx=1, depth=9, batch=4) the first"),
    (time_runs, "--runs shapes,flowers", "argument --runs: takes shapes, eurosat with commas between them; received 'shapes,flowers'"),
    (time_runs, "--test-pictures 0", "argument --test-pictures: takes a number of 1 or more; received '0'"),
    (
        time_runs,
        "SEED 1 TEST.NO_TEST True TRAIN.PRINT_FREQ 5",
        "error: TEST.NO_TEST and TRAIN.PRINT_FREQ cannot be given: times are read from",
    ),
    *[(tool, "--json pipe", NO_FILE) for tool in (benchmark, benchmark_pictures, growth, time_runs)],
    *[(tool, "--json folder", NO_FILE) for tool in (benchmark, benchmark_pictures, growth, time_runs)],
    *[(tool, "--json empty.json/a.json", NO_FILE) for tool in (benchmark, benchmark_pictures, growth, time_runs)],
]


@pytest.mark.parametrize(("tool", "words", "message"), REFUSED)
def test_wrong_arguments_are_told_before_any_work(
    tool: ModuleType, words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("CLIP", "measure", "time_run", "write_eurosat_size"):
        monkeypatch.setattr(tool, name, lambda *_: pytest.fail("work was begun"), raising=False)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    row = {**asdict(growth.Setting()), "vision_prompts": 9, "step_seconds": {"ours": 1.0}, "step_peak_bytes": {"ours": None}}
    for name, found in (("empty", {}), ("other", {"rows": [[1]]}), ("part", {"rows": [row]})):
        Path(f"{name}.json").write_text(json.dumps(found))
    with pytest.raises(SystemExit) as ended:
        tool.main(words.split())
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and message in err and out == ""


def test_figures_are_written_into_a_folder_that_is_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    figures, written = Path(__file__).parents[1] / "docs" / "growth_cpu.json", tmp_path / "a" / "b" / "growth.json"
    assert growth.main(["--from-json", str(figures), "--json", str(written)]) == 0
    assert json.loads(written.read_text()) == json.loads(figures.read_text())


def test_a_whole_run_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTS", "1")
    row = time_runs.time_run("shapes", tmp_path / "data", tmp_path / "a", [])
    assert row["n_steps"] == 5 * (12 // 4)  # epochs, and batches of 4 of the base half's 12 classes with a picture each
    assert row["total"] == pytest.approx(row["steps"] + row["test"] + row["rest"])
    assert 0 < row["waiting"] < row["rest"] < row["total"]
    assert len(time_runs.table([row]).splitlines()) == 3


def test_a_launcher_that_fails_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("SHOTS", "none")
    assert time_runs.main(["--runs", "shapes"]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("Error: bash ") and "ended with 2:\n" in err and "SHOTS" in err and out == ""


def test_a_run_that_is_named_twice_is_timed_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    row = {"run": "shapes", "backbone": "Tiny-Shapes", "n_steps": 5, "n_test": 12, "total": 2.0, "steps": 1.0, "waiting": 0.1}
    timed: list[str] = []
    monkeypatch.setattr(time_runs, "time_run", lambda run, *_: timed.append(run) or {**row, "test": 0.5, "rest": 0.5, "rest_share": 0.25})
    assert time_runs.main(["--runs", "shapes,shapes"]) == 0
    assert timed == ["shapes"] and "25.0 %" in capsys.readouterr().out


def test_the_random_set_is_a_eurosat_that_the_reader_takes(tmp_path: Path) -> None:
    time_runs.write_eurosat_size(tmp_path, n_test=2)
    cfg = config("MPL", tmp_path, "weights.pt", tmp_path / "out", "DATASET.NUM_SHOTS", 16, "DATASET.SUBSAMPLE_CLASSES", "base")
    data = EuroSAT(cfg)
    assert (len(data.train_x), len(data.test), data.num_classes) == (80, 10, 5)
    with Image.open(data.test[0].impath) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))
