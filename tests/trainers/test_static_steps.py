"""A step does the same every time and leaves its device alone, as a recording needs it: shown without a GPU, on tensors that hold no values.

The model is put on PyTorch's ``meta`` device, which knows shapes and types alone. What asks for a value there fails, as a recording would; what passes
between the device and the processor is caught by looking at every operation, forward and back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.trainers.small_runs import STATIC, build

Operations = list[tuple[str, list[tuple[int, ...]]]]


class OperationsOfADevice(TorchDispatchMode):
    """Keeps the name and the results' shapes of every operation, and refuses those with a tensor of the processor.

    Raises:
        AssertionError: within it, an operation reads or makes a tensor of the processor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Operations = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            assert not isinstance(leaf, Tensor) or leaf.is_meta, f"{func} has a tensor of the processor"
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.operations.append((str(func), shapes))
        return result


def operations_of_steps(trainer: Any, dtype: torch.dtype, n_steps: int = 3) -> list[Operations]:
    """The operations of each of some steps on ``trainer``'s model, its towers in ``dtype``, after one step with values, which makes what is kept."""
    images = torch.randn(4, 3, 32, 32)
    trainer.compute_gradients(images, torch.arange(4))
    trainer.model.clip.set_compute_dtype(dtype)
    trainer.model.to("meta")
    found = []
    for _ in range(n_steps):
        images, labels = torch.empty(4, 3, 32, 32, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
        with OperationsOfADevice() as seen:
            trainer.compute_gradients(images, labels)
        found.append(seen.operations)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("method", STATIC)
def test_a_step_asks_for_no_value_and_is_the_same_every_time(
    method: str, dtype: torch.dtype, eurosat: Path, weights: dict, tmp_path: Path
) -> None:
    trainer = build(method, eurosat, weights["wide"], tmp_path)
    _, second, third = operations_of_steps(trainer, dtype)  # the first makes the masks of its device
    assert second == third
    assert any("_backward" in name for name, _ in second)
    for parameter in trainer.model.prompt_learner.parameters():
        assert parameter.grad is not None and parameter.grad.is_meta


@pytest.mark.parametrize(
    "change",
    [lambda loss: loss * (1.0 if loss > 0 else 2.0), lambda loss: loss + loss.item(), lambda loss: loss + torch.ones(()).to(loss.device)],
)
def test_what_a_recording_cannot_hold_is_found(
    change: Callable[[Tensor], Tensor], eurosat: Path, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build("MPL", eurosat, weights["narrow"], tmp_path)
    plain = trainer.loss
    monkeypatch.setattr(trainer, "loss", lambda images, labels: change(plain(images, labels)))
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        operations_of_steps(trainer, torch.float32)
