"""Trainers that bring loops and tests of their own still leave a whole record, and each loss is looked at once."""

import json

import engine_world
import torch

from dassl.engine import TRAINER_REGISTRY
from dassl.engine.watch import LossWatch


@TRAINER_REGISTRY.register(force=True)
class OwnTrain(engine_world.TinyCoOp):
    """The published loop, written out in a `train` of the trainer's own."""

    def check_cfg(self, cfg):
        pass

    def train(self):
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020, as published
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()


@TRAINER_REGISTRY.register(force=True)
class OwnEpochAndTest(OwnTrain):
    """An epoch and a test of the trainer's own, without the engine's lines."""

    train = engine_world.TinyCoOp.train

    def run_epoch(self):
        self.num_batches = len(self.train_loader_x)
        for self.batch_idx, batch in enumerate(self.train_loader_x):  # noqa: B020, as published
            self.forward_backward(batch)

    @torch.no_grad()
    def test(self, split=None):
        self.set_model_mode("eval")
        self.evaluator.reset()
        for batch in self.test_loader:
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        return next(iter(self.evaluator.evaluate().values()))


def read(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return json.loads((folder / "result.json").read_text()), lines


def test_an_own_loop_is_recorded(build, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 9}\n')
    trainer = build(tmp_path, "TRAINER.NAME", "OwnTrain")
    trainer.train()
    result, lines = read(tmp_path)
    assert (result["finished"], result["trainer"], result["epochs_done"]) == (False, "OwnTrain", 3)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    trainer.finish()
    result = read(tmp_path)[0]
    assert result["finished"] and result["total"] == 6 and result["train_seconds"] > 0


def test_finishing_twice_changes_nothing(build, tmp_path):
    trainer = build(tmp_path)
    trainer.train()
    text = (tmp_path / "result.json").read_text()
    trainer.record._result["ended"] = "later"
    trainer.finish()
    assert (tmp_path / "result.json").read_text() == text
    trainer.test(split="val")
    trainer.finish()
    assert read(tmp_path)[0]["split"] == "val", "a further test is recorded"


def test_own_epochs_and_an_own_test_are_recorded(build, tmp_path):
    build(tmp_path, "TRAINER.NAME", "OwnEpochAndTest").train()
    result, lines = read(tmp_path)
    assert result["finished"] and result["split"] == "test"
    assert result["total"] == 6 and result["accuracy"] == 100 * result["correct"] / 6
    assert lines == [{"epoch": epoch, "max_epoch": 3} for epoch in (1, 2, 3)]


def test_a_loss_is_looked_at_once_a_step(build, tmp_path, monkeypatch):
    looks = []
    real = torch.Tensor.isfinite
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: (looks.append(tensor), real(tensor))[1])
    trainer = build(tmp_path, "TEST.NO_TEST", "True", "OPTIM.MAX_EPOCH", 1)

    def step(batch):
        loss = torch.nn.functional.cross_entropy(trainer.model(batch["img"]), batch["label"])
        trainer.model_backward_and_update(loss)
        return {"loss": loss.detach()}

    trainer.forward_backward = step
    trainer.train()
    assert len([values for values in looks if values.ndim == 0]) == 3, "losses; the parameters are looked at once an epoch"


def test_setting_something_of_a_loaders_dataset_reaches_it_and_its_workers(build, tmp_path):
    for workers in (0, 1):
        loader = build(tmp_path, "DATALOADER.NUM_WORKERS", workers).train_loader_x
        assert next(iter(loader))["img"].shape == (4, 3, 8, 8)
        loader.dataset.transform = lambda picture: torch.zeros(2)
        assert loader.dataset.dataset.transform is loader.dataset.transform
        assert next(iter(loader))["img"].shape == (4, 2)


def test_another_loss_of_the_same_step_is_looked_at_too():
    watch = LossWatch()
    good = torch.tensor(1.0)
    assert watch.see(good, 4) is None and watch.see(good.detach(), 4) is None
    assert watch.see(torch.tensor(float("nan")), 4) == 4 and watch.see(float("inf"), 4) == 4
