"""Numbers that are not finite, gradients that overflow, and equal runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import dassl.engine.watch as watch
from dassl.engine import TRAINER_REGISTRY, TrainerX
from tests.reliability.conftest import outcome
from tests.reliability.same import assert_same
from tests.trainers.conftest import weights  # noqa: F401, a fixture
from tests.trainers.small_runs import METHODS, NODES, build, write_eurosat
from trainers.base import PromptTrainer

SHORT = ("TEST.NO_TEST", "True", "TRAIN.PRINT_FREQ", 3)


@TRAINER_REGISTRY.register(force=True)
class Scaled(PromptTrainer):
    """A small net in place of CLIP, with the steps of every method and a GradScaler, as PREC amp has it on a GPU."""

    multiply = staticmethod(lambda trainer: 1.0)
    is_scaled = True

    def check_cfg(self, cfg: Any) -> None:
        pass

    def build_model(self) -> None:
        self.model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 5))
        self.optim = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.register_model("net", self.model, self.optim, None)
        self.scaler = torch.amp.GradScaler("cpu") if self.is_scaled else None

    def after_train(self) -> None:
        TrainerX.after_train(self)  # without the file of prompts, which this net has none of

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(self.model(images), labels)
        loss.register_hook(lambda gradient: gradient * self.multiply(self))
        return loss


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eurosat(tmp_path_factory.mktemp("data"))


def start(data: Path, folder: Path, *pairs: Any) -> Scaled:
    return build("Scaled", data, "none", folder, *SHORT, *pairs)


@pytest.mark.parametrize("is_lazy", [False, True], ids=["at once", "as on a GPU"])
def test_a_bad_loss_names_its_pictures(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_lazy: bool) -> None:
    trainer = start(data, tmp_path)
    trainer._loss_watch = watch.LossWatch(is_lazy)
    given: dict[int, list[str]] = {}
    real = trainer.parse_batch_train

    def spoil(batch: dict[str, Any]) -> Any:
        given[trainer.batch_idx] = list(batch["impath"])
        image, label = real(batch)
        return image * (float("nan") if (trainer.epoch, trainer.batch_idx) == (1, 1) else 1.0), label

    trainer.parse_batch_train = spoil
    with pytest.raises(FloatingPointError) as caught:
        trainer.train()
    told = str(caught.value)
    assert "the loss is not finite at epoch [2/2] batch [2/5], learning rate 0.1; try the trainer's PREC" in told
    assert f"The state after epoch 1 is in {tmp_path}: the same command with another PREC goes on from there" in told
    assert told.endswith("The pictures of this batch:" + "".join(f"\n  {path}" for path in given[1]))
    assert len(given[1]) == 4
    assert trainer.batch_idx == (2 if is_lazy else 1), "on a GPU it is told at the next printed step"
    again = start(data, tmp_path)
    assert again.resume_model_if_exist(str(tmp_path)) == 1, "the state before it is on disk"


def test_only_the_first_pictures_of_a_large_batch_are_named() -> None:
    assert watch.shown([str(n) for n in range(1200)]).endswith("\n  6\n  7\n  and 1,192 more")
    assert watch.shown([]) == ""


def test_a_parameter_that_the_last_gradient_spoils_is_not_saved(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss before it is fine, and there is no step after it that would show it: as when fp16's gradients overflow."""
    monkeypatch.setattr(Scaled, "is_scaled", False)
    trainer = start(data, tmp_path)
    trainer.multiply = lambda trainer: float("inf") if trainer.batch_idx == 4 else 1.0
    with pytest.raises(
        FloatingPointError, match=r"learned parameter 2\.\w+ is not finite after epoch \[1/2\] batch \[5/5\].*No epoch was finished before"
    ):
        trainer.train()
    assert not (tmp_path / "net").exists()


def test_steps_that_overflow_are_left_out_and_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer = start(data, tmp_path)
    trainer.multiply = lambda trainer: float("inf") if trainer.epoch == 0 and trainer.batch_idx in (1, 2, 4) else 1.0
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert len(told) == 1, "nothing is said of the second epoch"
    assert (
        "3 of the epoch's 5 steps were left out" in told[0] and f"scaled by {2**13:g}" in told[0] and "set PREC to bf16 or fp32" in told[0]
    )
    assert trainer.scaler.get_scale() == 2.0**13
    after = list(trainer.model.parameters())
    assert all(values.isfinite().all() for values in after) and not torch.equal(before[0], after[0])
    again = start(data, tmp_path)
    again.resume_model_if_exist(str(tmp_path))
    assert again.scaler.get_scale() == 2.0**13, "the scale is resumed"


@pytest.mark.parametrize("threads", [1, 2])
def test_one_seed_one_result_on_a_cpu(data: Path, tmp_path: Path, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, workers in (("a", 0), ("b", 0), ("c", 1)):
            start(data, tmp_path / name, "DATALOADER.NUM_WORKERS", workers).train()
    finally:
        torch.set_num_threads(before)
    first = outcome(tmp_path / "a")
    for name in "bc":
        assert_same(outcome(tmp_path / name), first, f"run {name}, {threads} threads")


def test_determinism_is_a_setting(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    start(data, tmp_path)
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        start(data, tmp_path, "DETERMINISTIC", "True").train()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prec", ["fp16", "amp"])
def test_on_a_gpu_deterministic_runs_are_equal(method: str, prec: str, data: Path, weights: dict, tmp_path: Path) -> None:  # noqa: F811
    try:
        for name in "ab":
            pairs = ("DETERMINISTIC", "True", "USE_CUDA", "True", f"TRAINER.{NODES[method]}.PREC", prec)
            build(method, data, weights["wide"], tmp_path / name, *pairs).train()
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(outcome(tmp_path / "a"), outcome(tmp_path / "b"), "on a GPU")
