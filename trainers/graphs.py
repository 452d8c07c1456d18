"""Training steps recorded as a CUDA graph: the GPU gets the kernels of a whole step in one launch.

A step of four pictures keeps a large GPU busy for a few milliseconds, while Python takes tens of them to launch its thousand or more kernels one by one. A
CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) records them once, with the addresses of all tensors in them, and launches them
at once from then on. The kernels are the same and in the same order, and so are the numbers; the first launches are held against plain steps, in case that a
step is not what it was when it was recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

N_WARM_UPS = 3  # runs before the recording, in which libraries make their handles and choose their kernels; as many as PyTorch's notes take
N_CHECKED = 2  # launches that are computed plainly as well: of the batch that was recorded, and of another
LARGEST_DIFFERENCE = 0.05  # of a launch's gradient from the plain one, as a part of its length and a tenth of all; rounding is far below

ComputeGradients = Callable[[Tensor, Tensor], Tensor]
"""``images [B, 3, R, R]``, ``labels [B]`` -> the loss, without gradient; puts the gradients of the learned parameters in place of the former."""
Launch = Callable[[], None]
"""Runs again what was recorded, on the same tensors: those it read and those it wrote."""


def record_on_gpu(run: Callable[[], Tensor]) -> Launch:
    """Record the kernels that ``run`` launches on the present GPU, after some runs to warm up.

    The threads that bring pictures into page-locked memory go on meanwhile, so that only this thread's calls are forbidden what a recording cannot hold.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(N_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    before = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
    finally:
        torch.cuda.set_stream(before)  # a recording that fails does not go back by itself
    return graph.replay


@dataclass
class Recording:
    """A recorded computation, and the tensors that it reads and writes; ``addresses`` are the parameters' when it was made."""

    launch: Launch
    images: Tensor
    labels: Tensor
    loss: Tensor
    gradients: list[Tensor | None]
    addresses: list[int]
    n_to_check: int = N_CHECKED

    def takes(self, images: Tensor, labels: Tensor) -> bool:
        """Whether a batch has the shapes and types of the recorded one."""
        return _are_alike(images, self.images) and _are_alike(labels, self.labels)

    def run(self, images: Tensor, labels: Tensor) -> None:
        """Launch it on a batch that it takes."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.launch()


class RecordedGradients:
    """Computes what ``compute`` computes, from a recording of it for batches of the first one's shape; other batches are computed plainly.

    ``compute`` must do the same at every call, but for the values of its tensors: what Python decides while it is recorded stays decided. If the recording
    fails, or its first results are not those of ``compute``, a note says why, and all batches are computed plainly.

    Args:
        compute: loss and gradients of a batch.
        parameters: the learned parameters; where one has been moved to other memory, the recording is made anew.
        record: how a run is recorded.
    """

    def __init__(
        self,
        compute: ComputeGradients,
        parameters: Sequence[nn.Parameter],
        record: Callable[[Callable[[], Tensor]], Launch] = record_on_gpu,
    ) -> None:
        self.compute, self.parameters, self._record = compute, list(parameters), record
        self._recording: Recording | None = None
        self._has_failed = False

    @property
    def is_recorded(self) -> bool:
        """Whether a recording is there and is launched."""
        return self._recording is not None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of the batch; each parameter's gradient is its own until the next call."""
        if not self._has_failed and (self._recording is None or self._recording.addresses != self._present_addresses()):
            self._recording = None  # its memory is free for the next
            self._recording = self._make(images, labels)
        if self._recording is None or not self._recording.takes(images, labels):
            return self.compute(images, labels)
        self._recording.run(images, labels)
        if self._recording.n_to_check > 0:
            return self._check(images, labels)
        for parameter, gradient in zip(self.parameters, self._recording.gradients, strict=True):
            parameter.grad = gradient  # where an optimiser has cleared it
        return self._recording.loss.clone()

    def _check(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of the batch that was launched, computed plainly, as its gradients; the recording is given up where it gave something else."""
        assert self._recording is not None
        launched = [self._recording.loss.clone()], [g.clone() for g in self._recording.gradients if g is not None]
        has_memory = True
        try:
            loss = self.compute(images, labels)
        except torch.OutOfMemoryError:
            has_memory = False
        if not has_memory:  # here, where no error holds what was computed
            self._give_up("the GPU's memory does not hold a plain step beside it")
            return self.compute(images, labels)
        plain = [loss], [p.grad for p in self.parameters if p.grad is not None]
        if not all(map(_agree, launched, plain)):
            self._give_up("its first results are not those of the plain step")
        elif _are_finite(plain[1]):  # after an overflow of float16 there is nothing to be seen
            self._recording.n_to_check -= 1
        return loss

    def _give_up(self, reason: str) -> None:
        self._recording, self._has_failed = None, True
        print(
            f"Note: steps are computed one kernel at a time, as with SPEED.RECORD_STEPS False, since they could not be recorded: {reason}"
        )

    def _present_addresses(self) -> list[int]:
        return [parameter.data_ptr() for parameter in self.parameters]

    def _make(self, images: Tensor, labels: Tensor) -> Recording | None:
        images, labels = images.clone(), labels.clone()
        losses: list[Tensor] = []

        def run() -> Tensor:
            losses[:] = [self.compute(images, labels)]
            return losses[0]

        handled = sys.exc_info()[1]
        try:
            launch = self._record(run)
        except RuntimeError as error:  # CUDA's own, and a GPU out of memory
            cause = first_cause(error, handled)
            try:
                if not isinstance(cause, RuntimeError):
                    raise cause from None
                self._give_up(str(cause).partition("\n")[0] or type(cause).__name__)
            finally:
                del cause  # it holds this frame, and so all that the recording had made until it failed
            return None
        gradients = [parameter.grad for parameter in self.parameters]
        return Recording(launch, images, labels, losses[0], gradients, self._present_addresses())


def first_cause(error: BaseException, handled: BaseException | None) -> BaseException:
    """What was raised first since ``handled``: the end of a recording that has failed raises an error of its own over it."""
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    return error


def _are_alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _are_finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors)


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether tensors are the same but for rounding; so they are taken to be if both have numbers that are not finite."""
    if [t.shape for t in found] != [t.shape for t in expected]:
        return False
    if not _are_finite(found) or not _are_finite(expected):
        return _are_finite(found) == _are_finite(expected)
    differences = torch.stack([(a - b).double().norm() for a, b in zip(found, expected, strict=True)])
    lengths = torch.stack([t.double().norm() for t in expected])
    return bool((differences <= LARGEST_DIFFERENCE * (lengths + 0.1 * lengths.norm())).all())
