"""The comparison of two runs' settings, the states of a run's folder, and the lock of the folder."""

import json

import pytest

from dassl import record
from dassl.config import CfgNode, get_cfg_default


def config(*pairs):
    cfg = get_cfg_default()
    cfg.merge_from_list(list(pairs))
    return cfg


def test_settings_that_count_and_those_that_do_not():
    old = config("OPTIM.LR", 0.1, "TEST.NO_TEST", "True", "INPUT.SIZE", "[32, 32]")
    new = config("OPTIM.LR", 0.2, "INPUT.SIZE", "(32, 32)", "OUTPUT_DIR", "b", "TRAIN.CHECKPOINT_FREQ", 1)
    lines = ["OPTIM.LR: was 0.1, now 0.2", "TEST.NO_TEST: was True, now False"]
    assert record.differing_settings(old, new) == lines
    assert record.differing_settings(record.plain(old), new, may_change=("OPTIM.LR", "NO_TEST")) == []
    new.TRAINER.MINE, old.TRAINER.OTHER = CfgNode({"PREC": "fp16"}), CfgNode({"A": 1})
    assert record.differing_settings(old, new) == lines, "only keys that both have"


def test_the_states_of_a_folder(tmp_path):
    folder = str(tmp_path)
    assert record.run_state(folder, config()) == ("missing", [])
    run = record.RunRecord(folder)
    run.extra = {"protocol": "base2new", "part": "base"}
    run.begin({"config": config()}, epochs_done=0)
    assert record.run_state(folder, config("OPTIM.MAX_EPOCH", 20)) == ("unfinished", [])
    assert record.run_state(folder, config("SEED", 3)) == ("other settings", ["SEED: was -1, now 3"])
    run.epoch_done(1)
    run.finish({"accuracy": float("nan"), "split": "test"})
    assert record.run_state(folder, config("TRAIN.PRINT_FREQ", 1)) == ("finished", [])
    assert record.run_state(folder, config("OPTIM.MAX_EPOCH", 20))[0] == "other settings"
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["finished"], result["epochs_done"], result["accuracy"]) == (True, 1, None)
    assert (result["protocol"], result["part"]) == ("base2new", "base")


def test_a_file_of_class_names_counts_by_its_content(tmp_path):
    names, cfg = tmp_path / "birds" / "names.json", config("DATASET.ROOT", str(tmp_path))
    names.parent.mkdir()
    names.write_text("{}")
    cfg.DATASET.FOLDER_PATH, cfg.DATASET.FOLDER_CLASS_NAMES = "birds", "names.json"
    before = record.identity(cfg)
    assert record.differing_runs(before, record.identity(cfg)) == []
    names.write_text('{"emu": "great emu"}')
    (line,) = record.differing_runs(before, record.identity(cfg))
    assert "FOLDER_CLASS_NAMES" in line


def test_metrics_of_finished_epochs_are_kept_on_resuming(tmp_path):
    lines = [json.dumps({"epoch": epoch, "loss": 0.5}) for epoch in (1, 1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 2, "lo']))
    record.RunRecord(str(tmp_path)).begin({"config": {}}, epochs_done=2, source=str(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == lines[:3]


def test_one_run_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "LOCK_SECONDS", 0)
    folder = str(tmp_path / "run")
    with record.hold_folder(folder, force=False):
        assert record.is_held(folder)
        with pytest.raises(ValueError, match="another run works in"), record.hold_folder(folder, force=True):
            pass
    with record.hold_folder(folder, force=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "what is no run is not moved"
    (tmp_path / "run" / "result.json").write_text("{}")
    (tmp_path / "run" / "result.json.part").write_text("half")
    with record.hold_folder(folder, force=False):
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".run.lock", "result.json"]
    with record.hold_folder(folder, force=True):
        assert not (tmp_path / "run" / "result.json").exists()
    (aside,) = tmp_path.glob("run.old-*")
    assert (aside / "result.json").exists()
