"""What the towers compute in: the four values of PREC, on a GPU and on a CPU."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

PRECISIONS = ("fp16", "bf16", "amp", "fp32")


@dataclass(frozen=True)
class Precision:
    """How a run computes; learned parameters are float32 in every case.

    Args:
        name: the value of PREC.
        device_type: `cuda` or `cpu`.
    """

    name: str = "fp32"
    device_type: str = "cpu"

    @property
    def tower_dtype(self) -> torch.dtype:
        """In which the frozen towers are held; they compute in it, but for amp."""
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.name, torch.float32)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients pass through float16 under autocast, so that the loss needs a GradScaler."""
        return self.name == "amp" and self.device_type == "cuda"

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the towers run: for amp, one in which they multiply matrices in 16 bits."""
        if self.name != "amp":
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, torch.float16 if self.scales_loss else torch.bfloat16)


def check_choice(key: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise ValueError if `value` of the setting `key` is none of `choices`."""
    if value not in choices:
        raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(map(str, choices))}")


def choose_precision(prec: str, device: torch.device) -> Precision:
    """How to compute for `prec` on `device`; a 16-bit type that the device lacks becomes fp32, with a note.

    fp16 and bf16 hold the towers' matrices in that type, as the published code does in fp16. amp holds them
    in float32 and multiplies in 16 bits.
    """
    check_choice("PREC", prec, PRECISIONS)
    on_gpu, missing = device.type == "cuda", ""
    # PyTorch has no public question for it; where the private one is missing, the answer is no.
    cpu_has_bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    if on_gpu and prec == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        missing = "this GPU has no bfloat16"
    elif not on_gpu and prec == "fp16":
        missing = "float16 is for GPUs"
    elif not on_gpu and prec != "fp32" and not cpu_has_bfloat16():
        missing = "this CPU has no bfloat16 instructions"
    if missing:
        print(f"PREC {prec} is not available on the device '{device}' ({missing}): computing in fp32")
    return Precision("fp32" if missing else prec, device.type)
