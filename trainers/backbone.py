"""Which CLIP prompts were learned in: enough of its weights to recognise them later and elsewhere."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from clip import CLIP

from .learned import SAME_WEIGHTS

N_HASHED = 1024  # values of each array that enter the hash (our choice: milliseconds for ViT-L/14)
N_SAMPLED = 2  # values of each matrix that are stored, to tell rounded weights from others (our choice)


@dataclass(frozen=True)
class BackboneIdentity:
    """A CLIP by its name, its sizes, the hash of its weights and a sample of them.

    Args:
        name: MODEL.BACKBONE.NAME; of a path, the file's name alone.
        sha256: of name, shape and evenly spaced float32 values of each array. OpenAI's archive and its
            safetensors copy have the same.
        sample: a few values of each matrix, in order of their names.
        sizes: the fields of `clip.CLIPConfig`.
    """

    name: str
    sha256: str
    sample: tuple[float, ...]
    sizes: Mapping[str, Any]

    @classmethod
    def of(cls, clip: CLIP, name: str) -> "BackboneIdentity":
        """The identity of `clip` as it was loaded, before its towers are cast to 16 bits."""
        digest, sample = hashlib.sha256(), []
        for key, values in sorted(clip.state_dict().items()):
            if not values.is_floating_point():  # a batch norm's counter
                continue
            values = values.detach().float().cpu()
            digest.update(f"{key} {list(values.shape)}\n".encode())
            digest.update(_evenly_spaced(values, N_HASHED).numpy().tobytes())
            if values.ndim >= 2:  # norms and biases are alike in all CLIPs
                sample += _evenly_spaced(values, N_SAMPLED).tolist()
        sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(clip.config).items()}
        is_file = os.path.isfile(os.path.expanduser(name))
        return cls(os.path.basename(name) if is_file else name, digest.hexdigest(), tuple(sample), sizes)

    def differences(self, found: "BackboneIdentity") -> list[str]:
        """Why prompts of this CLIP are meaningless in `found`; empty for the same weights, rounded or not."""
        sizes = {key: (size, found.sizes.get(key, size)) for key, size in self.sizes.items()}
        if others := [f"{key} is {other}, not {own}" for key, (own, other) in sizes.items() if own != other]:
            return others
        if self.sha256 == found.sha256:
            return []
        own, other = (torch.tensor(one.sample, dtype=torch.float64) for one in (self, found))
        distance = float((own - other).norm() / own.norm()) if len(own) == len(other) else float("inf")
        if distance <= SAME_WEIGHTS:
            return []
        return [f"its weights differ (relative distance {distance:.2f} of a sample)"]


def _evenly_spaced(values: Tensor, n: int) -> Tensor:
    values = values.flatten()
    if values.numel() <= n:
        return values.contiguous()
    return values[torch.linspace(0, values.numel() - 1, n, dtype=torch.float64).round().long()]
