"""Stopping at every step and in the test on val, for trainers that are hard to stop: two kinds of pictures, and a running average."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY, TrainerXU
from dassl.engine.stopping import STOP, StopRequested
from tests.reliability.conftest import outcome
from tests.reliability.same import assert_same
from tests.trainers.small_runs import SIZES, build, write_eurosat, write_weights

SHORT = ("TEST.FINAL_MODEL", "best_val", "TRAIN.PRINT_FREQ", 1)


@TRAINER_REGISTRY.register(force=True)
class ShortAndLong(TrainerXU):
    """Learns from labelled pictures and from fewer unlabelled ones, whose passes end and begin within an epoch; its steps draw random numbers."""

    def build_data_loader(self) -> None:
        super().build_data_loader()
        cfg, data = self.cfg, self.dm.dataset.train_x
        from dassl.data import build_data_loader
        from dassl.data.transforms import build_transform

        self.train_loader_u = build_data_loader(cfg, "RandomSampler", data[:9], 4, tfm=build_transform(cfg, is_train=True))

    def build_model(self) -> None:
        self.model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(12, 5))
        self.optim = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.register_model("net", self.model, self.optim, None)

    def forward_backward(self, batch_x: Any, batch_u: Any) -> dict[str, Any]:
        input_x, label_x, input_u = self.parse_batch_train(batch_x, batch_u)
        loss = F.cross_entropy(self.model(input_x), label_x) + 0.1 * self.model(input_u).square().mean()
        self.model_backward_and_update(loss)
        return {"loss": loss.detach()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    return write_eurosat(folder), write_weights(folder / "narrow.pt", SIZES["narrow"])


@pytest.fixture(autouse=True)
def _few_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.promptsrc.IMAGENET_TEMPLATES", ("a photo of a {}.",))  # PromptSRC reads 60, a minute's work in all here


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another beside other processes of the tests take ten times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    with STOP.listening():
        yield


def stop_at(trainer: Any, name: str, moment: int) -> None:
    """Send this process SIGTERM in the `moment`th call of a trainer's method."""
    real, calls = getattr(trainer, name), iter(range(1, 1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == moment:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **kwargs)

    setattr(trainer, name, call)


def start(method: str, world: tuple[Path, Path], folder: Path) -> Any:
    return build(method, *world, folder, *SHORT)


@pytest.mark.parametrize("name", ["_check_numbers", "run_identity"])
def test_an_epoch_that_is_done_is_not_lost(world: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    """A signal between an epoch's last step and its test on val: in the look at the numbers, or while its state is gathered."""
    trainer = start("PromptSRC", world, tmp_path)
    stop_at(trainer, name, 1)
    with pytest.raises(StopRequested, match="stopped by SIGTERM at the test on val after epoch 1"):
        trainer.train()
    assert torch.load(tmp_path / "interrupted.pth.tar")["n_batches"] == 5


def test_no_moment_lies_between_an_epoch_and_its_saving(world: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = start("MPL", world, tmp_path)
    run_epoch = trainer.run_epoch

    def run_and_stop() -> None:
        run_epoch()
        signal.raise_signal(signal.SIGTERM)

    trainer.run_epoch = run_and_stop
    with pytest.raises(StopRequested, match="stopped by SIGTERM at the test on val after epoch 1"):
        trainer.train()
    assert torch.load(tmp_path / "interrupted.pth.tar")["n_batches"] == 5
    with STOP.listening(), pytest.raises(StopRequested):  # and nothing is held any more
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("method", ["ShortAndLong", "PromptSRC"])
def test_stopped_twice_and_the_same_in_the_end(world: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    """Within an epoch, in its last step, and in the tests on val after the first and the last epoch."""
    start(method, world, tmp_path / "whole").train()
    whole = outcome(tmp_path / "whole")
    for name, moment in (("forward_backward", 2), ("forward_backward", 5), ("model_inference", 1), ("model_inference", 2)):
        folder = tmp_path / f"{name}-{moment}"
        trainer = start(method, world, folder)
        stop_at(trainer, name, moment)
        with pytest.raises(StopRequested, match="stopped by SIGTERM at (epoch|the test on val)"):
            trainer.train()
        assert (folder / "interrupted.pth.tar").is_file()
        with STOP.listening():
            start(method, world, folder).train()
        assert_same(outcome(folder), whole, f"{method}, {name} {moment}")


def test_a_state_of_another_run_or_of_a_shorter_one_is_refused(world: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = start("MPL", world, tmp_path)
    stop_at(trainer, "forward_backward", 7)
    with pytest.raises(StopRequested):
        trainer.train()
    with pytest.raises(ValueError, match=r"interrupted.pth.tar is of another run.*\n  seed: saved 1, now 2"):
        build("MPL", *world, tmp_path, *SHORT, "SEED", 2).train()
    with pytest.raises(ValueError, match=r"has 2 epochs \(the last one begun\) and OPTIM.MAX_EPOCH is 1"):
        build("MPL", *world, tmp_path, *SHORT, "OPTIM.MAX_EPOCH", 1).train()
    state = torch.load(tmp_path / "interrupted.pth.tar")
    torch.save({**state, "num_batches": 9}, tmp_path / "interrupted.pth.tar")
    with pytest.raises(ValueError, match="stopped in an epoch of 9 steps, and now an epoch has 5"), STOP.listening():
        start("MPL", world, tmp_path).train()
    torch.save({"state_dict": {}}, tmp_path / "interrupted.pth.tar")
    with pytest.raises(ValueError, match="interrupted.pth.tar lacks epoch, .*delete it"):
        start("MPL", world, tmp_path).train()


def test_a_state_older_than_the_last_checkpoint_is_passed_over(world: tuple[Path, Path], tmp_path: Path) -> None:
    """As when a run is killed between the saving of an epoch and the removal of the state within it."""
    trainer = start("MPL", world, tmp_path)
    stop_at(trainer, "forward_backward", 2)
    with pytest.raises(StopRequested):
        trainer.train()
    state = (tmp_path / "interrupted.pth.tar").read_bytes()
    with STOP.listening():
        start("MPL", world, tmp_path).train()
    (tmp_path / "interrupted.pth.tar").write_bytes(state)
    assert start("MPL", world, tmp_path).resume_model_if_exist(str(tmp_path)) == 2


@pytest.mark.parametrize(("moment", "n_epochs"), [(2, 1), (7, 2)], ids=["in its first epoch", "in its second"])
def test_a_job_with_resume_goes_on_from_its_own_folder_once_that_is_further(
    world: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture, moment: int, n_epochs: int
) -> None:
    build("MPL", *world, tmp_path / "a", "OPTIM.MAX_EPOCH", 1).train()
    options = (*SHORT, "RESUME", str(tmp_path / "a"), "OPTIM.MAX_EPOCH", 3)
    trainer = build("MPL", *world, tmp_path / "b", *options)
    stop_at(trainer, "forward_backward", moment)
    with pytest.raises(StopRequested):
        trainer.train()
    with STOP.listening():
        again = build("MPL", *world, tmp_path / "b", *options)
        again.train()
    assert again.start_epoch == n_epochs and f"Going on within epoch {n_epochs + 1}, after batch 2 of 5" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_in_a_destructor_is_not_lost() -> None:
    """Python drops what is raised there; the run stops where it looks next."""

    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StopRequested, match="stopped by SIGTERM at the next look"):
        ending = Ending()
        del ending
        STOP.look("the next look")


@pytest.mark.parametrize("order", [("SIGTERM", "SIGUSR1"), ("SIGUSR1", "SIGTERM"), ("SIGINT", "SIGUSR1", "SIGUSR1")])
def test_a_signal_that_a_launcher_passes_on_is_no_second_one(order: tuple[str, ...]) -> None:
    """A scheduler may signal all processes of a job, and the launcher then passes on what the run has got already, or is about to get."""
    with STOP.held():
        for name in order:
            signal.raise_signal(getattr(signal, name))
        assert STOP.is_requested
        status = 130 if "SIGINT" in order else 143
        with pytest.raises(StopRequested) as stopped:
            STOP.look()
        assert stopped.value.exit_status == status
        with pytest.raises(StopRequested, match="stopped by SIGTERM"):
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_a_launcher_passes_on_ends_what_cannot_be_saved_at_once() -> None:
    with pytest.raises(StopRequested, match="stopped by SIGTERM"):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(StopRequested, match="stopped by SIGTERM at the next look"):
        STOP.look("the next look")
