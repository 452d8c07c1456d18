"""Running averages that do not wait for the GPU until a number is asked for."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import torch

Number = float | torch.Tensor


class AverageMeter:
    """The last value, the sum and the average of a number; only reading them waits for a GPU."""

    val = property(lambda self: float(self._val))
    sum = property(lambda self: float(self._sum))
    avg = property(lambda self: float(self._sum / max(self.count, 1)))

    def __init__(self) -> None:
        self._val: Number = 0.0
        self._sum: Number = 0.0
        self.count = 0

    def update(self, val: Number, n: int = 1) -> None:
        """Take in `val`, a number or a tensor of one element, which stands for `n` samples."""
        if isinstance(val, torch.Tensor):
            val = val.detach().float().reshape(()).clone()  # the trainer may change it later
        self._val = val
        self._sum = self._sum + val * n
        self.count += n


class MetricMeter:
    """One AverageMeter a metric, filled from the dict that a training step returns."""

    def __init__(self) -> None:
        self.meters: dict[str, AverageMeter] = defaultdict(AverageMeter)

    def update(self, input_dict: Mapping[str, Number] | None) -> None:
        """Take in one step's metrics; None means that the step gave none."""
        for name, value in (input_dict or {}).items():
            self.meters[name].update(value)

    def text(self, left_out: Collection[str] = ()) -> str:
        """The last value and the average of each metric but those `left_out`."""
        meters = {name: meter for name, meter in self.meters.items() if name not in left_out}
        return " ".join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in meters.items())

    def __str__(self) -> str:
        return self.text()
