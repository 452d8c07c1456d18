"""A checkpoint is gone on from, or tested, only under the settings that made it."""

import json
import re

import engine_world
import pytest
import torch
from yacs.config import CfgNode as CN

from dassl.config import ConfigError, check_ranges
from dassl.data.datasets import Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
from dassl.utils import load_checkpoint, set_random_seed

SHORT = ("TEST.NO_TEST", "True", "OPTIM.MAX_EPOCH", 1)


@TRAINER_REGISTRY.register(force=True)
class TinyOwn(engine_world.TinyCoOp):
    """TinyCoOp with the engine's load_model and settings of its own."""

    load_model = TrainerX.load_model

    def check_cfg(self, cfg):
        pass


@pytest.fixture
def own(root):
    """own(output_dir, settings, *options) -> a TinyOwn with these settings in its node."""

    def make(output_dir, settings, *options):
        cfg = engine_world.config(root, output_dir, ("TRAINER.NAME", "TinyOwn", *SHORT, *options))
        cfg.defrost()
        cfg.TRAINER.TINYOWN = CN(settings)
        cfg.freeze()
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)

    return make


def test_resuming_under_other_settings_names_each(own, tmp_path):
    settings = {"PROMPT_DEPTH": 9, "N_RM_OP": (1, 2), "PREC": "fp16"}
    own(tmp_path, settings).train()
    with pytest.raises(ValueError, match="another run") as caught:
        own(
            tmp_path, {**settings, "PROMPT_DEPTH": 3, "NEW": 1}, "OPTIM.LR", 0.2, "OPTIM.MAX_EPOCH", 2,
            "INPUT.TRANSFORMS", "('normalize',)", "DATALOADER.TRAIN_X.BATCH_SIZE", 5,
        ).train()  # fmt: skip
    lines = str(caught.value).splitlines()[1:-1]
    assert [line.split(":")[0].strip() for line in lines] == ["method PROMPT_DEPTH", "optim LR", "input TRANSFORMS", "batch_size"]
    assert "method PROMPT_DEPTH: saved 9, now 3" in str(caught.value)
    resumed = own(tmp_path, {**settings, "N_RM_OP": [1, 2], "PREC": "fp32"}, "OPTIM.MAX_EPOCH", 2)
    resumed.train()
    assert resumed.start_epoch == 1, "precision and number of epochs may change"


def test_a_method_that_knows_more_about_its_settings_speaks_first(own, tmp_path):
    own(tmp_path, {"PROMPT_DEPTH": 9}).train()

    def refuse(state):
        raise ValueError("the depths do not go together")

    for options, message in (((), "depths do not go together"), (("SEED", 2), "seed: saved 1, now 2")):
        trainer = own(tmp_path, {"PROMPT_DEPTH": 3}, *options)
        trainer.load_extra_state = refuse
        with pytest.raises(ValueError, match=message):
            trainer.train()


def test_an_unseeded_run_does_not_go_on_with_other_pictures(build, tmp_path):
    options = ("SEED", -1, "DATASET.NUM_SHOTS", 2, *SHORT)
    first = build(tmp_path, *options)
    first.train()
    again = build(tmp_path, *options)
    again.dm.dataset._train_x = list(reversed(first.dm.dataset.train_x))
    assert again.resume_model_if_exist(str(tmp_path)) == 1, "the same pictures"
    other = build(tmp_path, *options)
    item = first.dm.dataset.train_x[0]
    swapped = Datum(impath=item.impath.replace(".png", "x.png"), label=item.label, classname=item.classname)
    other.dm.dataset._train_x = [swapped, *first.dm.dataset.train_x[1:]]
    with pytest.raises(ValueError, match="train_rows: saved"):
        other.resume_model_if_exist(str(tmp_path))


def test_moved_data_are_the_same_data(build, root, tmp_path):
    build(tmp_path / "run", *SHORT).train()
    (tmp_path / "moved").symlink_to(root)
    assert build(tmp_path / "run", *SHORT, "DATASET.ROOT", str(tmp_path / "moved")).resume_model_if_exist(str(tmp_path / "run")) == 1


def test_a_backbone_below_the_home_folder_is_its_file(own, tmp_path, monkeypatch):
    """However its path is written, and wherever the home folder stands."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "small.pt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, identity in (("~/clip/small.pt", "small.pt"), (f"{tmp_path}/clip/small.pt", "small.pt"), ("~/none.pt", "~/none.pt")):
        trainer = own(tmp_path / "run", {}, "MODEL.BACKBONE.NAME", name)
        assert trainer.run_identity()["backbone"] == identity


def test_testing_under_another_schedule_is_refused(own, tmp_path):
    own(tmp_path / "a", {"PROMPT_DEPTH": 9, "PREC": "fp16"}).train()
    with pytest.raises(ValueError, match=r"model.pth.tar-1 .*\n  method PROMPT_DEPTH: saved 9, now 3\n"):
        own(tmp_path / "b", {"PROMPT_DEPTH": 3, "PREC": "fp16"}).load_model(str(tmp_path / "a"), epoch=1)
    with pytest.raises(ValueError, match="backbone: saved '', now 'other'"):
        own(tmp_path / "b", {"PROMPT_DEPTH": 9}, "MODEL.BACKBONE.NAME", "other").load_model(str(tmp_path / "a"), epoch=1)
    options = ("SEED", 2, "DATASET.NUM_SHOTS", 1, "OPTIM.LR", 0.5, "INPUT.TRANSFORMS", "('normalize',)")
    elsewhere = own(tmp_path / "b", {"PROMPT_DEPTH": 9, "NEW": 1, "PREC": "amp"}, *options)
    elsewhere.load_model(str(tmp_path / "a"), epoch=1)
    path = tmp_path / "a" / "prompt_learner" / "model.pth.tar-1"
    torch.save({k: v for k, v in load_checkpoint(str(path)).items() if k != "run"}, path)  # as published files are
    own(tmp_path / "b", {"PROMPT_DEPTH": 3}).load_model(str(tmp_path / "a"), epoch=1)


def test_resuming_into_another_folder_takes_the_best_model_and_the_record_along(build, tmp_path, capsys):
    options = ("TEST.FINAL_MODEL", "best_val")
    build(tmp_path / "a", *options, "OPTIM.MAX_EPOCH", 2).train()
    moved = build(tmp_path / "b", *options, "RESUME", str(tmp_path / "a"))
    moved.best_result = 0.0
    real_test = moved.test
    moved.test = lambda split=None: (real_test(split), -1.0)[1] if split == "val" else real_test(split)
    moved.train()
    old, new = (load_checkpoint(str(tmp_path / run / "prompt_learner" / "model-best.pth.tar")) for run in "ab")
    assert old["epoch"] == new["epoch"] and old["val_result"] == new["val_result"]
    epochs = [line.split(",")[0] for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == ['{"epoch": 1', '{"epoch": 2', '{"epoch": 3']
    records = [json.loads((tmp_path / run / "result.json").read_text()) for run in "ab"]
    assert records[1]["started"] == records[0]["started"] and records[1]["train_seconds"] > records[0]["train_seconds"]


def test_resuming_into_another_folder_without_its_best_model_looks_for_a_new_best(build, tmp_path):
    build(tmp_path / "a", "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 2).train()
    (tmp_path / "a" / "prompt_learner" / "model-best.pth.tar").unlink()
    moved = build(tmp_path / "b", "TEST.FINAL_MODEL", "best_val", "RESUME", str(tmp_path / "a"))
    real_test = moved.test
    moved.test = lambda split=None: (real_test(split), -1.0)[1] if split == "val" else real_test(split)
    moved.train()
    assert load_checkpoint(str(tmp_path / "b" / "prompt_learner" / "model-best.pth.tar"))["epoch"] == 3


def test_the_best_of_epochs_that_were_not_tested_on_val_is_not_chosen(build, tmp_path, capsys):
    best_val = ("TEST.FINAL_MODEL", "best_val")
    build(tmp_path / "a").train()
    result = (tmp_path / "a" / "result.json").read_text()
    for more in (("OPTIM.MAX_EPOCH", 4), ()):  # to go on, and to look again
        with pytest.raises(ValueError, match="a holds no best model on val of its 3 finished epochs .* Set it to last_step, train afresh"):
            build(tmp_path / "a", *best_val, *more).train()
        assert (tmp_path / "a" / "result.json").read_text() == result
    capsys.readouterr()
    moved = build(tmp_path / "b", *best_val, "OPTIM.MAX_EPOCH", 4, "RESUME", str(tmp_path / "a"))
    moved.train()
    assert "3 finished epochs; the best is looked for among the epochs from here on" in capsys.readouterr().out
    assert load_checkpoint(str(tmp_path / "b" / "prompt_learner" / "model-best.pth.tar"))["epoch"] == 4


def test_no_best_is_promised_where_no_epochs_are_left(build, tmp_path):
    best_val = ("TEST.FINAL_MODEL", "best_val")
    build(tmp_path / "a").train()
    for folder in ("a", "b"):
        with pytest.raises(ValueError, match="a holds no best model on val of its 3 finished epochs"):
            build(tmp_path / folder, *best_val, "RESUME", str(tmp_path / "a")).train()
    assert not (tmp_path / "b" / "result.json").exists()


def test_a_better_model_that_a_killed_run_left_is_the_best(build, tmp_path, monkeypatch):
    """Saved after epoch 2, before that epoch's checkpoint; gone on with, epoch 2 turns out less good, as another precision may let it."""
    best_val = ("TEST.FINAL_MODEL", "best_val")
    trainer = build(tmp_path, *best_val)
    results = iter([50.0, 60.0])
    monkeypatch.setattr(trainer, "test", lambda split=None: next(results))
    monkeypatch.setattr(trainer.record, "sync", lambda: (_ for _ in ()).throw(OSError("killed")) if trainer.epoch == 1 else None)
    with pytest.raises(OSError, match="killed"):
        trainer.train()
    again = build(tmp_path, *best_val)
    results = iter([55.0, 54.0])
    monkeypatch.setattr(again, "test", lambda split=None: next(results, 0.0))
    again.train()
    best = load_checkpoint(str(tmp_path / "prompt_learner" / "model-best.pth.tar"))
    assert (again.start_epoch, again.best_result, best["val_result"]) == (1, 60.0, 60.0)


def test_results_on_val_that_are_no_numbers_are_told(build, tmp_path):
    trainer = build(tmp_path, "TEST.FINAL_MODEL", "best_val")
    trainer.test = lambda split=None: float("nan")
    with pytest.raises(
        ValueError, match="no epoch's test on val gave a number, so there is no best model: set TEST.FINAL_MODEL to last_step"
    ):
        trainer.train()


def test_an_epoch_without_a_test_on_val_ends_the_comparison(build, tmp_path):
    best_val = ("TEST.FINAL_MODEL", "best_val")
    build(tmp_path, *best_val, "OPTIM.MAX_EPOCH", 1).train()
    build(tmp_path, "OPTIM.MAX_EPOCH", 2).train()
    with pytest.raises(ValueError, match="no best model on val of its 2 finished epochs"):
        build(tmp_path, *best_val).train()


def test_a_best_model_that_is_gone_is_told_before_more_is_trained(build, tmp_path):
    best_val = ("TEST.FINAL_MODEL", "best_val")
    build(tmp_path, *best_val, "OPTIM.MAX_EPOCH", 2).train()
    (tmp_path / "prompt_learner" / "model-best.pth.tar").unlink()
    with pytest.raises(ValueError, match="were not tested on val, or the file is gone"):
        build(tmp_path, *best_val).train()


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("DATALOADER.TRAIN_X.SAMPLER", "SequentialSampler", "train_x SAMPLER: saved 'RandomSampler', now 'SequentialSampler'"),
        ("DATALOADER.TRAIN_X.N_INS", 8, "train_x N_INS: saved 16, now 8"),
        ("DATALOADER.K_TRANSFORMS", 2, "k_transforms: saved 1, now 2"),
        ("TRAIN.COUNT_ITER", "train_u", "count_iter: saved 'train_x', now 'train_u'"),
    ],
)
def test_what_pictures_are_drawn_by_is_of_the_run(own, tmp_path, key, value, line):
    own(tmp_path, {}).train()
    trainer = own(tmp_path, {}, key, value)
    with pytest.raises(ValueError, match=re.escape(line)):
        trainer.resume_model_if_exist(str(tmp_path))


def test_the_weights_that_a_run_begins_with_are_of_the_run(own, tmp_path):
    """By what they are, wherever they lie."""
    own(tmp_path / "first", {}).train()
    weights = tmp_path / "first" / "prompt_learner" / "model.pth.tar-1"
    own(tmp_path / "run", {}, "MODEL.INIT_WEIGHTS", str(weights)).train()
    moved = tmp_path / "moved.pth.tar"
    weights.rename(moved)
    own(tmp_path / "run", {}, "MODEL.INIT_WEIGHTS", str(moved)).resume_model_if_exist(str(tmp_path / "run"))
    trainer = own(tmp_path / "meanwhile", {}, "MODEL.INIT_WEIGHTS", str(moved))
    moved.rename(weights)  # after it has been read
    trainer.train()
    weights.rename(moved)
    own(tmp_path / "meanwhile", {}, "MODEL.INIT_WEIGHTS", str(moved)).resume_model_if_exist(str(tmp_path / "meanwhile"))
    moved.write_bytes(moved.read_bytes() + b"more")
    for start in (str(moved), ""):
        with pytest.raises(ValueError, match="init_weights: saved '[0-9a-f]{64}', now"):
            own(tmp_path / "run", {}, "MODEL.INIT_WEIGHTS", start).resume_model_if_exist(str(tmp_path / "run"))


def test_settings_out_of_range_are_named_together(build, tmp_path):
    bad = {
        "OPTIM.MAX_EPOCH": (0, "1 or more"), "OPTIM.LR": (0.0, "above 0"), "OPTIM.MOMENTUM": (-0.1, "0 or more"),
        "OPTIM.WEIGHT_DECAY": (-1.0, "0 or more"), "DATALOADER.TRAIN_X.BATCH_SIZE": (0, "1 or more"),
        "DATALOADER.TEST.BATCH_SIZE": (-1, "1 or more"), "DATALOADER.NUM_WORKERS": (-1, "0 or more"), "SEED": (-2, "-1 or more"),
        "DATALOADER.K_TRANSFORMS": (0, "1 or more"),
    }  # fmt: skip
    options = [item for key, (value, _) in bad.items() for item in (key, value)]
    cfg = engine_world.config("data", tmp_path, options)
    with pytest.raises(ValueError) as caught:
        build_trainer(cfg)
    for key, (value, accepted) in bad.items():
        assert f"{key} = {value}: accepted: {accepted}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("OPTIM.ADAM_BETA1", "1.0", "0 or more and below 1"),
        ("OPTIM.GAMMA", "-0.1", "above 0"),
        ("INPUT.RANDAUGMENT_M", "31", "0 to 30"),
        ("INPUT.GB_K", "4", "odd"),
        ("INPUT.COLORJITTER_H", "0.6", "0 to 0.5"),
        ("INPUT.RGS_P", "1.5", "0 to 1"),
        ("INPUT.RRCROP_SCALE", "(2, 1)", "two shares of the area, above 0 and up to 1, the smaller first"),
        ("INPUT.RRCROP_SCALE", "(0.5,)", "two shares of the area"),
        ("INPUT.SIZE", "(32, 0)", "height and width, whole numbers from 1"),
        ("INPUT.SIZE", "(32,)", "height and width"),
    ],
)
def test_what_an_optimiser_or_a_transform_would_choke_on_is_told_before(tmp_path, key, value, accepted):
    with pytest.raises(ConfigError, match=re.escape(f"{key} = {value}: accepted: {accepted}")):
        check_ranges(engine_world.config("data", tmp_path, [key, value]))


def test_an_endless_learning_rate_is_refused(build, tmp_path):
    with pytest.raises(ValueError, match="OPTIM.LR = inf"):
        build(tmp_path, "OPTIM.LR", "1e999")


@pytest.mark.parametrize("options", [("DATALOADER.K_TRANSFORMS", 2), ("INPUT.NO_TRANSFORM", "True")])
def test_pictures_that_the_trainer_cannot_take_are_told_before_training(build, tmp_path, options):
    trainer = build(tmp_path, *options)
    with pytest.raises(ValueError, match=options[0]):
        trainer.train()
    assert not (tmp_path / "result.json").exists()


def test_a_trainer_that_takes_several_views_trains(build, tmp_path):
    trainer = build(tmp_path, "DATALOADER.K_TRANSFORMS", 2, *SHORT)
    trainer.parse_batch_train = lambda batch: (torch.cat(batch["img"]), batch["label"].repeat(2))
    trainer.train()
    assert trainer.epoch == 0 and len(trainer.lrs) == 3


def test_without_a_transform_a_trainer_may_still_set_its_own(build, tmp_path):
    trainer = build(tmp_path, "INPUT.NO_TRANSFORM", "True", *SHORT)
    for loader in (trainer.train_loader_x, trainer.test_loader):
        loader.dataset.transform = loader.dataset.to_tensor
    trainer.train()
    assert len(trainer.lrs) == 3
