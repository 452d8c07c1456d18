"""What is decided before runs are made; test_launchers.py has real runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.execution import chains, cost, offer_datasets
from experiments.protocols import Choice, plan
from experiments.slurm import parameters_of
from prepare import __main__ as prepare


def test_missing_datasets_are_fetched_once_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[list[str]] = []
    monkeypatch.setattr(prepare, "main", fetched.append)
    choice = Choice(("MPL",), ("eurosat", "dtd", "shapes"), (1,))
    runs = plan("base2new", choice)
    offer_datasets(runs, tmp_path)  # no terminal to ask: train.py names the command
    assert not fetched
    monkeypatch.setenv("AUTO_PREPARE", "1")
    offer_datasets(plan("base2new", replace(choice, settings=(("DATASET.MAKE_SPLIT", "True"),))), tmp_path)
    assert not fetched
    offer_datasets(runs, tmp_path)
    assert fetched == [["fetch", "eurosat", "dtd", "--root", str(tmp_path)]]


def test_chains_keep_tests_with_their_training() -> None:
    runs = plan("xd", Choice(("MPL", "ZeroshotCLIP"), seeds=(1, 2)))
    found = chains(runs)
    assert [len(chain) for chain in found] == [11, 11] + [1] * 11
    halves = chains(plan("base2new", Choice(("ZeroshotCLIP",), ("dtd", "eurosat"))))
    assert [[run.part for run in chain] for chain in halves] == [["base", "new"]] * 2


def test_longer_runs_cost_more() -> None:
    names = ("eurosat", "dtd", "caltech101", "sun397", "imagenet")
    base = [plan("base2new", Choice(("MPL",), (name,), (1,)))[0] for name in names]
    shots = plan("few_shot", Choice(("CoOp",), ("dtd",), (1,), (1, 16, -1)))
    for costs in (list(map(cost, base)), list(map(cost, shots))):
        assert costs == sorted(set(costs))
    trained, tested = plan("base2new", Choice(("MPL",), ("dtd",), (1,)))
    assert cost(trained) > cost(tested) > 0


def test_the_options_of_slurm() -> None:
    found = parameters_of("partition=gpu,time=1-04:30:00,gpus=2,mem=16GB,cpus=8")
    expected = {
        "partition": "gpu",
        "time": 28 * 60 + 30,
        "gpus_per_node": 2,
        "mem": "16GB",
        "cpus_per_task": 8,
    }
    assert found == expected
    assert parameters_of("time=4:00:00") == parameters_of("time=240") == {"time": 240}
    for text in ("partition=gpu", "time=", "gpu,time=5", "time=30:00"):
        with pytest.raises(ValueError, match="--slurm"):
            parameters_of(text)
