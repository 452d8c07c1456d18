"""Recorded steps: what is done around a recording, on the CPU; that it gives the same numbers, on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.graphs import RecordedGradients
from trainers.mpl import MPL

from tests.trainers.small_runs import NODES, PUBLISHED, STATIC, build  # isort: skip

N_STEPS = 6


class Problem:
    """A small regression, whose gradients are computed as a trainer does."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
        self.unused = nn.Parameter(torch.ones(1))
        self.optimiser = torch.optim.SGD([self.weight, self.unused], lr=0.1, momentum=0.9)
        self.scale = 1.0
        self.n_computed = 0

    def compute(self, images: Tensor, labels: Tensor) -> Tensor:
        self.n_computed += 1
        self.optimiser.zero_grad()
        loss = ((images @ self.weight.t()).sum(dim=1) - labels).square().mean() * self.scale
        loss.backward()
        return loss.detach()


def record_in_place(run: Callable[[], Tensor], parameters: list[nn.Parameter]) -> Callable[[], None]:
    """What a CUDA graph does, on the CPU: the same computation into the loss and the gradients that were there when it was recorded."""
    loss = run()
    recorded = [p.grad for p in parameters]

    def launch() -> None:
        loss.copy_(run())
        for parameter, gradient in zip(parameters, recorded, strict=True):
            if gradient is not None:
                gradient.copy_(parameter.grad)

    return launch


def recorded(problem: Problem) -> RecordedGradients:
    parameters = [problem.weight, problem.unused]
    return RecordedGradients(problem.compute, parameters, lambda run: record_in_place(run, parameters))


def batches(sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 3, generator=generator), torch.randn(n, generator=generator)) for n in sizes]


def test_recorded_steps_are_the_plain_ones_batch_by_batch() -> None:
    plain, own = Problem(), Problem()
    gradients = recorded(own)
    losses = []
    for images, labels in batches([4, 4, 2, 4, 4]):  # the third has another shape, and is computed plainly
        for problem, compute in ((plain, plain.compute), (own, gradients)):
            losses.append(compute(images, labels))
            problem.optimiser.step()
            problem.optimiser.zero_grad()  # takes the recorded gradients away
        assert torch.equal(own.weight, plain.weight)
    assert torch.equal(torch.stack(losses[::2]), torch.stack(losses[1::2])), "an earlier loss is not written over by a later batch"
    assert own.unused.grad is None


def test_a_parameter_that_was_moved_is_recorded_anew() -> None:
    plain, own = Problem(), Problem()
    gradients = recorded(own)
    for problem, compute in ((plain, plain.compute), (own, gradients)):
        for i, (images, labels) in enumerate(batches([4, 4, 4])):
            if i == 1:
                problem.weight.data = torch.full((2, 3), 0.5)
            compute(images, labels)
            problem.optimiser.step()
    assert torch.equal(own.weight, plain.weight)
    assert own.n_computed == 2 + 3 + 3, "two recordings, three launches, and as many plain steps to hold them against"


@pytest.mark.parametrize("scale", [2.0, float("nan")])
def test_a_recording_that_a_step_has_left_behind_is_given_up(scale: float, capsys: pytest.CaptureFixture[str]) -> None:
    """What Python decides within a step is decided once for a recording; here, after the first batch it decides otherwise."""
    plain, own = Problem(), Problem()

    def record(run: Callable[[], Tensor]) -> Callable[[], None]:
        launch = record_in_place(run, [own.weight])

        def launch_as_recorded() -> None:
            present, own.scale = own.scale, 1.0
            launch()
            own.scale = present

        return launch_as_recorded

    gradients = RecordedGradients(own.compute, [own.weight], record)
    for i, (images, labels) in enumerate(batches([4, 4, 4, 4])):
        plain.scale = own.scale = scale if i else 1.0
        losses = [compute(images, labels) for compute in (plain.compute, gradients)]
        assert torch.equal(*losses) or losses[0].isnan() == losses[1].isnan() == (i > 0)
        assert torch.equal(own.weight.grad.nan_to_num(), plain.weight.grad.nan_to_num())
    assert own.n_computed == 1 + 2 + 4, "the recording, two launches, and four plain steps"
    assert capsys.readouterr().out.count("could not be recorded: its first results are not those of the plain step") == 1


def test_launches_that_agree_are_held_against_plain_steps_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem()
    gradients = recorded(problem)
    counts = []
    for i, (images, labels) in enumerate(batches([4, 4, 4, 4])):
        problem.scale = float("inf") if i == 1 else 1.0  # an overflow in both says nothing
        gradients(images, labels)
        counts.append(problem.n_computed)
    assert counts == [1 + 2, 5, 7, 8]
    assert capsys.readouterr().out == ""


def test_a_step_that_cannot_be_recorded_is_computed_plainly_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    problem, plain = Problem(), Problem()

    def fail(run: Callable[[], Tensor]) -> Any:
        run()
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:  # as the end of a recording does
            raise RuntimeError("operation failed due to a previous error during capture")

    gradients = RecordedGradients(problem.compute, [problem.weight], fail)
    for images, labels in batches([4, 4]):
        assert torch.equal(gradients(images, labels), plain.compute(images, labels))
        assert torch.equal(problem.weight.grad, plain.weight.grad)
    told = "as with SPEED.RECORD_STEPS False, since they could not be recorded: operation not permitted when stream is capturing\n"
    assert capsys.readouterr().out.split(", ", 1)[1] == told


def test_a_failed_recording_leaves_nothing_behind_it() -> None:
    """Not even a reference that waits for the garbage collector: the plain step needs the memory."""
    problem, made = Problem(), []

    def fail(run: Callable[[], Tensor]) -> Any:
        kept = torch.zeros(3)  # as a recording holds what it has computed
        made.append(weakref.ref(kept))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def compute(images: Tensor, labels: Tensor) -> Tensor:
        assert made[0]() is None
        return Problem.compute(problem, images, labels)

    gc.disable()
    try:
        RecordedGradients(compute, [problem.weight], fail)(*batches([4])[0])
    finally:
        gc.enable()
    assert problem.n_computed == 1


def test_where_memory_holds_no_second_step_the_recording_makes_room(capsys: pytest.CaptureFixture[str]) -> None:
    plain, own = Problem(), Problem()
    launches = []

    def record(run: Callable[[], Tensor]) -> Callable[[], None]:
        launch = record_in_place(run, [own.weight])
        launches.append(weakref.ref(launch))
        return launch

    def compute(images: Tensor, labels: Tensor) -> Tensor:
        if own.n_computed == 2 and launches[0]() is not None:  # recorded, and launched
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Problem.compute(own, images, labels)

    gradients = RecordedGradients(compute, [own.weight], record)
    for images, labels in batches([4, 4]):
        assert torch.equal(gradients(images, labels), plain.compute(images, labels))
        assert torch.equal(own.weight.grad, plain.weight.grad)
    assert "the GPU's memory does not hold a plain step beside it" in capsys.readouterr().out
    assert not gradients.is_recorded


def test_an_error_that_is_being_handled_is_no_cause_of_a_failed_recording(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem()

    def fail(run: Callable[[], Tensor]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    try:
        raise ValueError("of the caller")
    except ValueError:
        RecordedGradients(problem.compute, [problem.weight], fail)(*batches([4])[0])
    assert "operation not permitted" in capsys.readouterr().out


def test_a_signal_within_a_recording_is_not_lost() -> None:
    problem = Problem()

    def stopped(run: Callable[[], Tensor]) -> Any:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    with pytest.raises(KeyboardInterrupt):
        RecordedGradients(problem.compute, [problem.weight], stopped)(*batches([4])[0])


def test_each_method_says_itself_that_its_step_is_static_and_no_method_built_on_it_inherits_that() -> None:
    from dassl.engine import TRAINER_REGISTRY

    assert all(vars(TRAINER_REGISTRY.get(name))["has_static_step"] for name in PUBLISHED)

    class Next(MPL):
        """A method that someone builds on MPL."""

    assert "has_static_step" not in vars(Next)


def test_nothing_is_recorded_on_the_cpu(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build("MPL", eurosat, weights["narrow"], tmp_path, "SPEED.RECORD_STEPS", True)
    assert not isinstance(trainer._gradients, RecordedGradients)


@pytest.mark.gpu
@pytest.mark.parametrize("method", STATIC)
@pytest.mark.parametrize("prec", ["fp16", "bf16", "amp", "fp32"])
def test_recorded_steps_are_the_plain_ones_on_the_gpu(
    method: str, prec: str, eurosat: Path, weights: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for is_recorded in (False, True):
        pairs = ["OPTIM.WARMUP_EPOCH", -1, f"TRAINER.{NODES[method]}.PREC", prec, "USE_CUDA", True, "SPEED.RECORD_STEPS", is_recorded]
        trainer = build(method, eurosat, weights["wide"], tmp_path / str(is_recorded), *pairs)
        assert isinstance(trainer._gradients, RecordedGradients) == is_recorded
        trainer.num_batches, trainer.batch_idx = 100, 0
        generator = torch.Generator().manual_seed(1)
        losses = []
        for _ in range(N_STEPS):
            batch = {"img": torch.randn(4, 3, 32, 32, generator=generator), "label": torch.randint(5, (4,), generator=generator)}
            losses.append(trainer.forward_backward(batch)["loss"])
        found.append((torch.stack(losses), torch.cat([p.detach().flatten() for p in trainer.learned.parameters()])))
    assert "could not be recorded" not in capsys.readouterr().out
    # The order in which a GPU adds up gradients is not fixed, and six steps carry that on.
    tolerance = {"fp32": 1e-4, "bf16": 0.1}.get(prec, 1e-2)
    for plain, own in zip(*found, strict=True):
        torch.testing.assert_close(own, plain, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
def test_a_recorded_run_trains_tests_and_ends_as_a_plain_one(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    outcomes = []
    for is_recorded in (False, True):
        output = tmp_path / str(is_recorded)
        pairs = ("USE_CUDA", True, "SPEED.RECORD_STEPS", is_recorded, "TEST.FINAL_MODEL", "best_val")
        trainer = build("MPL", eurosat, weights["wide"], output, *pairs)
        trainer.train()
        assert isinstance(trainer._gradients, RecordedGradients) == is_recorded and (not is_recorded or trainer._gradients.is_recorded)
        outcomes.append(torch.cat([p.detach().flatten() for p in trainer.learned.parameters()]))
    torch.testing.assert_close(*outcomes, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_a_step_that_waits_for_the_gpu_is_computed_plainly(
    eurosat: Path, weights: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of this file, since PyTorch up to 2.11 keeps the memory of a recording that failed."""

    def waiting(self: MPL, images: Tensor, labels: Tensor) -> Tensor:
        loss = super(MPL, self).loss(images, labels)
        return loss * (1.0 if loss.item() > 0 else 2.0)

    found = []
    for is_recorded in (False, True):
        trainer = build("MPL", eurosat, weights["wide"], tmp_path / str(is_recorded), "USE_CUDA", True, "SPEED.RECORD_STEPS", is_recorded)
        monkeypatch.setattr(trainer, "loss", waiting.__get__(trainer))
        stream = torch.cuda.current_stream()
        trainer.train()
        assert torch.cuda.current_stream() == stream
        found.append(torch.cat([p.detach().flatten() for p in trainer.learned.parameters()]))
    assert capsys.readouterr().out.count("could not be recorded") == 1
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
