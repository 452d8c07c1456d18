"""Running averages that do not wait for the accelerator until a number is asked for."""

from collections import defaultdict
from collections.abc import Mapping

import torch

Number = float | torch.Tensor


class AverageMeter:
    """The last value and the running average of a number.

    Values may be tensors of one element on any device: they stay there, and only reading `val` or `avg` waits for them.

    Args:
        ema: average exponentially, a new value counting for a tenth, instead of over all values alike.
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

    def state_dict(self) -> dict[str, Number]:
        """What the running average depends on, as numbers and tensors."""
        return {"val": self._val, "avg": self._avg, "sum": self._sum, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Number]) -> None:
        """Go on from what `state_dict` gave."""
        self._val, self._avg, self._sum = state["val"], state["avg"], state["sum"]
        self.count = int(state["count"])

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

    @property
    def pending_avg(self) -> Number:
        """The average as it is held: a tensor where the values are tensors. Reading it does not wait."""
        return self._avg


class MetricMeter:
    """One AverageMeter a metric, filled from the dict that a training step returns.

    Args:
        delimiter: what stands between metrics when they are printed.
    """

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: dict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, Number] | None) -> None:
        """Take in one step's metrics; None means that the step gave none.

        Raises:
            TypeError: neither a dict nor None.
        """
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(
                f"a training step must return a dict name -> number or None, got {type(input_dict).__name__}; "
                'return for instance {"loss": loss}'
            )
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(f"{name} {meter.val:.4f} ({meter.avg:.4f})" for name, meter in self.meters.items())
