"""Running averages that do not wait for the GPU until a number is asked for."""

from collections import defaultdict
from collections.abc import Mapping

import torch

Number = float | torch.Tensor


class AverageMeter:
    """The last value and the running average of a number.

    Values may be tensors of one element on any device; only reading `val`, `avg` or `sum` waits for them.

    Args:
        ema: an exponential average, in which a new value counts for a tenth.
    """

    def __init__(self, ema: bool = False) -> None:
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._val: Number = 0.0
        self._avg: Number = 0.0
        self._sum: Number = 0.0
        self.count = 0

    def update(self, val: Number, n: int = 1) -> None:
        """Take in `val`, which stands for `n` samples."""
        if isinstance(val, torch.Tensor):
            val = val.detach().float().reshape(()).clone()  # the trainer may change it later
        self._val = val
        self._sum = self._sum + val * n
        self.count += n
        self._avg = self._avg * 0.9 + val * 0.1 if self.ema else self._sum / max(self.count, 1)

    @property
    def val(self) -> float:
        """The last value."""
        return float(self._val)

    @property
    def sum(self) -> float:
        """The sum of all values, each times its number of samples."""
        return float(self._sum)

    @property
    def avg(self) -> float:
        """The average of all values."""
        return float(self._avg)


class MetricMeter:
    """One AverageMeter a metric, filled from the dict that a training step returns.

    Args:
        delimiter: what stands between the metrics when they are printed.
    """

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: dict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, Number] | None) -> None:
        """Take in one step's metrics; None means that the step gave none."""
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(
                f"a training step must return a dict of numbers or None, got {type(input_dict).__name__}; "
                'return for instance {"loss": loss}'
            )
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(
            f"{name} {meter.val:.4f} ({meter.avg:.4f})" for name, meter in self.meters.items()
        )
