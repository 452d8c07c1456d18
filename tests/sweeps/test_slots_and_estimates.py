"""GPUs and cores given once, and how long runs are said to take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.estimate import CPU, GPU, SIZES, TINY_SHAPES, Estimator
from sweeps.plan import plan_runs
from sweeps.protocols import Choice, SweepError, launches
from sweeps.slots import make_slots, visible_gpus
from tests.launchers import REPO
from tests.sweeps.stand_in import StandIn


def test_each_gpu_and_each_core_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    on_gpus = make_slots(None, ("0", "2"), ("0", "1", "2"), range(8))
    assert [slot.environment() for slot in on_gpus] == [{"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": "4"} for gpu in "02"]
    assert [slot.gpu for slot in make_slots(2, None, ("0", "1", "2"), range(8))] == ["0", "1"]
    on_cores = make_slots(3, None, (), [0, 1, 2, 3, 6, 7, 8])
    assert [slot.cores for slot in on_cores] == [(0, 1), (2, 3), (6, 7, 8)]
    assert [slot.environment() for slot in on_cores] == [{"OMP_NUM_THREADS": n} for n in "223"]
    assert make_slots(1, (), ("0",), range(2))[0].environment() == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}  # --gpus none
    assert make_slots(None, None, ("0", "1"), range(2))[0].environment() == {}  # as a launcher by hand
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert on_cores[0].environment() == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("jobs", "gpus", "seen", "part"),
    [
        (0, None, (), "--jobs is 0"),
        (3, None, (), "--jobs 3 with 2 CPU cores"),
        (3, ("0", "1"), ("0", "1"), "--jobs 3 with 2 GPUs (0, 1)"),
        (2, None, ("0",), "--jobs 2 with 1 GPU (0)"),
        (None, ("1", "1"), (), "--gpus is 1,1"),
        (None, ("1", "9"), ("0", "1"), "--gpus has 9; seen here: 0, 1 ("),
        (None, ("0",), (), "--gpus has 0; seen here: no GPU ("),
    ],
)
def test_places_that_are_not_there_are_refused(jobs: int | None, gpus: tuple[str, ...] | None, seen: tuple[str, ...], part: str) -> None:
    with pytest.raises(SweepError) as raised:
        make_slots(jobs, gpus, seen, range(2))
    assert part in str(raised.value)


def test_the_gpus_of_the_environment_are_those_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for named, seen in (("0,3", ["0", "3"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == seen


def test_sizes_are_those_of_the_config_files() -> None:
    compared = 0
    for name, size in SIZES.items():
        head = (REPO / f"configs/datasets/{name}.yaml").read_text(encoding="utf-8").split("DATASET:")[0].replace(",", "")
        assert re.search(rf"\b{size.n_classes}\b", head), name
        n_test = 50_000 if name == "imagenet" else int(re.search(r"test(?: pictures)? (\d+)", head).group(1))
        assert (size.n_test, str(n_test) in head) == (n_test, True), name
        compared += 1
    assert compared == 16


def choose(words: dict, protocol: str, tmp_path: Path) -> list:
    return plan_runs(launches(protocol, Choice(**words)), tmp_path / "data", tmp_path / "output")


def test_assumptions_count_steps_and_test_pictures(tmp_path: Path) -> None:
    train, test = choose({"methods": ("MPL",), "datasets": ("eurosat",), "seeds": (1,)}, "base2new", tmp_path)
    estimator = Estimator([train, test], has_gpu=True)
    n_steps = 5 * (5 * 16 // 4)  # epochs x (base classes x shots / batch)
    assert estimator.estimate(train) == (GPU.start + n_steps * GPU.step + 4050 * GPU.picture, False)
    assert estimator.estimate(test).seconds == GPU.start + 4050 * GPU.picture
    assert "0.05 s a training step of 4 pictures, 0.002 s a test picture" in estimator.assumptions([train])[0]
    (many, _) = choose({"methods": ("MPL",), "datasets": ("imagenet",), "seeds": (1,)}, "base2new", tmp_path)
    on_cpu = Estimator([train, many], has_gpu=False)  # docs/BENCHMARKS.md: 1.23 s with 5 classes, 2.0 s with 250, 4.59 s with 1,000
    assert on_cpu.estimate(train).seconds == CPU.start + n_steps * (CPU.step + 5 * CPU.per_class) + 4050 * CPU.picture
    assert on_cpu.estimate(many).seconds == CPU.start + 5 * 2000 * (CPU.step + 500 * CPU.per_class) + 25_000 * CPU.picture
    assert [CPU.step + n * CPU.per_class for n in (5, 250, 1000)] == pytest.approx([1.23, 2.01, 4.59], rel=0.03)
    assert "1.2 s a training step of 4 pictures and 3.4 ms for each class, 0.17 s a test picture" in on_cpu.assumptions([many])[0]
    (shapes, _) = choose(
        {"methods": ("MPL",), "datasets": ("shapes",), "seeds": (1,), "settings": (("OPTIM.MAX_EPOCH", "2"),)}, "base2new", tmp_path
    )
    expected = TINY_SHAPES.start + 2 * (12 * 16 // 4) * TINY_SHAPES.step + 720 * TINY_SHAPES.picture
    assert Estimator([shapes], has_gpu=True).estimate(shapes).seconds == pytest.approx(expected)


def test_finished_runs_tell_of_other_seeds_and_scale_the_assumptions(stand_in: StandIn, reproduce: Callable, tmp_path: Path) -> None:
    runs = choose({"methods": ("MPL",), "datasets": ("eurosat", "dtd"), "seeds": (1, 2)}, "base2new", tmp_path)
    before = Estimator(runs, has_gpu=False)
    by_title = {run.title: run for run in runs}
    done, other_seed, other_dataset = (
        by_title[f"MPL {name} K=16 seed {seed}"] for name, seed in (("eurosat base", 1), ("eurosat base", 2), ("dtd base", 1))
    )
    assumed = before.estimate(done).seconds
    done.run_dir.mkdir(parents=True)
    took = {"finished": True, "train_seconds": 100.0, "test_seconds": 50.0, "epochs_done": 5}
    (done.run_dir / "result.json").write_text(json.dumps(took))
    after = Estimator(runs, has_gpu=False)
    assert after.estimate(other_seed) == (150 + 15, True)
    scaled = after.estimate(other_dataset)
    assert not scaled.is_measured
    assert scaled.seconds == pytest.approx(15 + (before.estimate(other_dataset).seconds - 15) * 150 / (assumed - 15))
    assert after.assumptions([other_dataset])[-1] == "scaled by how finished runs compare with these assumptions"
    (done.run_dir / "settings.txt").write_text("OPTIM.MAX_EPOCH 5\n")
    status, out, _ = reproduce("base2new --datasets eurosat --seeds 1,2 --plan")
    assert status == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert lines[0] == ["run", "state", "time", "from", "folder"]
    assert lines[1][:2] == ["MPL eurosat base K=16 seed 1", "finished"]
    assert lines[3][:4] == ["MPL eurosat base K=16 seed 2", "to run", "3 min", "runs"]
    assert "4 runs: 1 finished, 3 to run" in out
    assert "hours of runs" in out
    elsewhere = reproduce("base2new --datasets dtd --seeds 3 --plan --gpus 0,1")[1]  # a plan may be for another machine
    assert re.search(r"hours with 2 at once\n.*\(a GPU; ", elsewhere)
    assert "base2new/test_new/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed2" in out
    assert stand_in.folders() == []
