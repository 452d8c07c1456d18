"""How a list of runs is made, with a stand-in for train.main; test_launchers.py has real runs."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import train
from dassl.engine.record import plain
from experiments import execution
from experiments.execution import Place, chains, cost, make_all
from experiments.protocols import Choice, plan
from experiments.run import Run, state
from prepare import __main__ as prepare


class StandIn:
    """Leaves a record as train.main does; gives the status that `statuses` has for a part of the folder."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.statuses: dict[str, int] = {}

    def main(self, argv: Sequence[str], protocol: str = "", part: str = "", tested: Any = None) -> int:
        args = train.build_parser().parse_args([word for word in argv if word != "--force"])
        cfg = train.setup_cfg(args)
        folder = Path(cfg.OUTPUT_DIR)
        if "--force" not in argv and (folder / "result.json").exists():
            return 0
        self.calls.append((cfg.OUTPUT_DIR, args, protocol, part, tested))
        status = next((status for part, status in self.statuses.items() if part in cfg.OUTPUT_DIR), 0)
        record = {"finished": status == 0, "ended": f"time {len(self.calls)}", "tested": tested}
        record |= {"epochs_done": cfg.OPTIM.MAX_EPOCH, "accuracy": 50.0}
        record |= {"dataset": cfg.DATASET.NAME, "config": plain(cfg)}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(record))
        return status


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(train, "main", made.main)
    monkeypatch.setattr(execution, "is_present", lambda name, data: True)
    return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "output")


def base2new(*seeds: int, **more: Any) -> list[Run]:
    return plan("base2new", Choice(("MPL",), ("shapes",), seeds, **more))


def test_the_best_on_val_is_tested_where_the_training_did(stand_in: StandIn, place: Place) -> None:
    assert make_all(base2new(1, settings=(("TEST.FINAL_MODEL", "best_val"),)), place) == 0
    assert stand_in.calls[1][1].load_epoch is None
    assert make_all(base2new(2), place) == 0
    _, args, protocol, part, tested = stand_in.calls[3]
    assert (args.eval_only, args.load_epoch, protocol, part) == (True, 5, "base2new", "new")
    assert tested == {"folder": args.model_dir, "ended": "time 3"}


def test_a_failure_leaves_out_what_needs_it_and_the_others_go_on(stand_in: StandIn, place: Place) -> None:
    runs = base2new(1, 2)
    stand_in.statuses = {"train_base/shapes/shots_16/MPL/tiny_shapes/seed1": 1}
    assert make_all(runs, place) == 1
    assert [Path(call[0]).name for call in stand_in.calls] == ["seed1", "seed2", "seed2"]
    states = [state(run, place.data, place.output)[0] for run in runs]
    assert states == ["unfinished", "missing", "finished", "finished"]
    stand_in.statuses = {"train_base": 2}
    assert make_all(base2new(4), place) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_list(number: int, stand_in: StandIn, place: Place) -> None:
    stand_in.statuses = {"seed1": 128 + number}
    assert make_all(base2new(1, 2), place) == 128 + number
    assert len(stand_in.calls) == 1


def test_a_test_needs_a_finished_training_of_its_settings(
    stand_in: StandIn, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    train_run, test_run = base2new(1)
    assert make_all([test_run], place) == 2
    assert "bash scripts/mpl/base2new_train.sh shapes 1" in capsys.readouterr().err
    make_all([train_run], place)
    (_, other) = base2new(1, settings=(("OPTIM.LR", "0.1"),))
    assert make_all([other], place) == 2
    assert "OPTIM.LR" in capsys.readouterr().err
    assert make_all([test_run], place) == 0


def test_what_changes_no_result_may_differ(stand_in: StandIn, place: Place) -> None:
    make_all(base2new(1), place)
    for key, value, expected in (
        ("DATALOADER.NUM_WORKERS", "0", "finished"),
        ("TRAIN.PRINT_FREQ", "7", "finished"),
        ("TRAIN.CHECKPOINT_FREQ", "1", "finished"),
        ("OPTIM.LR", "0.1", "other settings"),
        ("DATASET.NUM_SHOTS", "4", "other settings"),
    ):
        run = base2new(1, settings=((key, value),))[0]
        assert state(run, place.data, place.output)[0] == expected, key
    found, (line,) = state(base2new(1, epochs=2)[0], place.data, place.output)
    assert found == "other settings" and "OPTIM.MAX_EPOCH" in line


def test_a_missing_dataset_is_fetched_when_asked(
    stand_in: StandIn, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[list[str]] = []
    status = 0
    monkeypatch.setattr(prepare, "main", lambda words: fetched.append(words) or status)
    monkeypatch.setattr(execution, "is_present", lambda name, data: bool(fetched))
    runs = plan("base2new_train", Choice(("MPL",), ("eurosat",), (1,)))
    assert make_all(runs, place) == 0 and not fetched  # no terminal to ask: train.py names the command
    monkeypatch.setenv("AUTO_PREPARE", "1")
    assert make_all(plan("few_shot", Choice(("MPL",), ("dtd",), (1,))), place) == 0
    assert fetched == [["fetch", "dtd", "--root", str(place.data)]]
    fetched.clear()
    assert make_all(runs, place) == 0 and not fetched, "a finished run fetches nothing"
    status = 1
    assert make_all(plan("base2new_train", Choice(("MPL",), ("ucf101",), (1,))), place) == 2
    assert "python -m prepare fetch ucf101" in capsys.readouterr().err


def test_chains_keep_tests_with_their_training() -> None:
    runs = plan("xd", Choice(("MPL", "ZeroshotCLIP"), seeds=(1, 2)))
    found = chains(runs)
    assert [len(chain) for chain in found] == [11, 11] + [1] * 11
    halves = chains(plan("base2new", Choice(("ZeroshotCLIP",), ("dtd", "eurosat"))))
    assert [[run.part for run in chain] for chain in halves] == [["base", "new"]] * 2


def test_longer_runs_cost_more() -> None:
    names = ("dtd", "eurosat", "caltech101", "sun397", "imagenet")
    base = [plan("base2new", Choice(("MPL",), (name,), (1,)))[0] for name in names]
    assert [run.dataset for run in sorted(base, key=cost)] == ["eurosat", *names[:1], *names[2:]]
    shots = plan("few_shot", Choice(("CoOp",), ("dtd",), (1,), (1, 16, -1)))
    assert sorted(shots, key=cost) == shots
    trained, tested = plan("base2new", Choice(("MPL",), ("dtd",), (1,)))
    assert cost(trained) > cost(tested) > 0
