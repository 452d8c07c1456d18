"""CUDA graphs of a training step: the kernels of a loss in one launch, and those of its gradients in another.

A step of four images keeps a large GPU busy for a few milliseconds, while Python takes tens of them to launch
its thousand kernels one by one (docs/BENCHMARKS.md has the timings).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""`images [B, 3, R, R]`, `labels [B]` -> the loss."""


def extend_cfg(cfg: Any) -> None:
    """Declare `TRAIN.CUDA_GRAPHS`."""
    cfg.TRAIN.CUDA_GRAPHS = True  # on a GPU, for methods whose class says has_static_step = True


class LossModule(nn.Module):
    """A loss as a module that holds the parameters it depends on, as `make_graphed_callables` needs it."""

    def __init__(self, loss: Loss, model: nn.Module) -> None:
        super().__init__()
        self.loss, self.model = loss, model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.loss(images, labels)


def graphed_loss(loss: Loss, model: nn.Module, images: Tensor, labels: Tensor) -> Loss:
    """`loss` as a CUDA graph for batches shaped like `images` and `labels`; others are computed plainly.

    What Python decides during the capture stays decided, so `loss` must do the same for every batch. The
    parameters of `model` must stay where they are. If the capture fails, a line says why and `loss` itself is
    returned.
    """
    stream = torch.cuda.current_stream()
    try:
        graphed: Any = torch.cuda.make_graphed_callables(
            LossModule(loss, model), (images, labels), allow_unused_input=True
        )
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # a failed capture leaves its own stream in place
        print(f"Training without CUDA graphs, since the capture failed: {str(error).partition(chr(10))[0]}")
        return loss

    shapes = images.shape, labels.shape

    def loss_of_batch(images: Tensor, labels: Tensor) -> Tensor:
        if (images.shape, labels.shape) == shapes:
            return graphed(images, labels).clone()  # the next step writes over the graph's own
        return loss(images, labels)

    return loss_of_batch
