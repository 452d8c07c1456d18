"""What the towers compute in: the four values of PREC, on a GPU and on a CPU."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

PRECISIONS = ("fp16", "bf16", "amp", "fp32")


@dataclass(frozen=True)
class Precision:
    """How a run computes; learned parameters are float32 in every case.

    Args:
        tower_dtype: what the frozen towers are held and computed in.
        autocast_dtype: what float32 towers compute matrix products in under autocast; None for no autocast.
        device_type: ``cuda`` or ``cpu``.
    """

    tower_dtype: torch.dtype = torch.float32
    autocast_dtype: torch.dtype | None = None
    device_type: str = "cpu"

    @property
    def name(self) -> str:
        """The value of PREC that asks for it: fp16, bf16, amp or fp32."""
        if self.autocast_dtype is not None:
            return "amp"
        return {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[self.tower_dtype]

    @property
    def scales_loss(self) -> bool:
        """Whether gradients pass through float16 under autocast, so that the loss must be scaled (``torch.amp.GradScaler``)."""
        return self.autocast_dtype is torch.float16

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which the towers run."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, self.autocast_dtype)


def check_precision(prec: str, key: str) -> None:
    """Refuse a value of the setting ``key`` (such as ``TRAINER.MPL.PREC``) that is no precision.

    Raises:
        ValueError: ``prec`` is none of fp16, bf16, amp, fp32.
    """
    if prec not in PRECISIONS:
        raise ValueError(f"{key} is {prec!r}; it must be one of {', '.join(PRECISIONS)}")


def choose_precision(prec: str, device: torch.device) -> Precision:
    """How to compute for ``prec`` on ``device``; a 16-bit setting that the device does not serve becomes fp32, which is printed.

    fp16 and bf16 hold the towers' matrices in that type, as the published code does in fp16; amp leaves them in float32 and multiplies in 16 bits.
    """
    check_precision(prec, "PREC")
    if device.type == "cuda":
        if prec == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return _fall_back(prec, "this GPU has no bfloat16", device)
        if prec == "amp":
            return Precision(autocast_dtype=torch.float16, device_type="cuda")
        return Precision({"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[prec], device_type="cuda")
    if prec == "fp32":
        return Precision()
    if prec == "fp16":
        return _fall_back(prec, "float16 is for GPUs", device)
    if not _cpu_serves_bfloat16():
        return _fall_back(prec, "this CPU has no bfloat16 instructions", device)
    return Precision(torch.bfloat16) if prec == "bf16" else Precision(autocast_dtype=torch.bfloat16)


def _fall_back(prec: str, reason: str, device: torch.device) -> Precision:
    print(f"PREC {prec} is not served by the device '{device}' ({reason}): computing in fp32")
    return Precision(device_type=device.type)


def _cpu_serves_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this CPU; torch has no public question for it, so an absent private one counts as no."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())
