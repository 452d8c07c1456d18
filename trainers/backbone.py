"""Which CLIP prompts were learned in: enough of its weights to tell, later and elsewhere, whether another file holds the same ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from clip import CLIP

from .learned import SAME_WEIGHTS

N_HASHED = 1024  # values of each array that enter the hash, evenly spaced (our choice: milliseconds for ViT-L/14, and no array is left out)
N_SAMPLED = (
    2  # values of each matrix that are kept, to tell weights that were rounded from other weights (our choice: some hundred values a CLIP)
)


@dataclass(frozen=True)
class BackboneIdentity:
    """A CLIP by its name, its sizes, the hash of its weights and a sample of them.

    Args:
        name: as in ``MODEL.BACKBONE.NAME``; of a path, the file's name alone.
        sha256: SHA-256 over name, shape and evenly spaced float32 values of each array. It is of the numbers, not of the file: OpenAI's archive and its
            safetensors copy have the same.
        sample: a few values of each matrix, in order of their names.
        sizes: the fields of :class:`clip.CLIPConfig`.
    """

    name: str
    sha256: str
    sample: tuple[float, ...]
    sizes: Mapping[str, Any]

    @classmethod
    def of(cls, clip: CLIP, name: str) -> BackboneIdentity:
        """The identity of ``clip`` as it was loaded, before its towers are cast to 16 bits."""
        digest, sample = hashlib.sha256(), []
        for key, values in _arrays(clip):
            digest.update(f"{key} {list(values.shape)}\n".encode())
            digest.update(_spaced(values, N_HASHED).numpy().tobytes())
            if values.ndim >= 2:  # norms and biases are alike in all CLIPs
                sample += _spaced(values, N_SAMPLED).tolist()
        sizes = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(clip.config).items()}
        path = os.path.expanduser(name)
        return cls(os.path.basename(path) if os.path.isfile(path) else name, digest.hexdigest(), tuple(sample), sizes)

    def differences(self, found: BackboneIdentity) -> list[str]:
        """What makes prompts of this CLIP meaningless in the CLIP ``found``, a line each; empty for the same weights, rounded alike or not."""
        keys = [key for key in self.sizes if self.sizes[key] != found.sizes.get(key)]
        if keys:
            return [f"{key} is {found.sizes.get(key)}, not {self.sizes[key]}" for key in keys]
        own, other = torch.tensor(self.sample, dtype=torch.float64), torch.tensor(found.sample, dtype=torch.float64)
        if self.sha256 == found.sha256:
            return []
        if len(own) != len(other):
            return [f"its matrices are others ({len(other)} sampled values, not {len(own)})"]
        distance = float((own - other).norm() / own.norm())
        return [] if distance <= SAME_WEIGHTS else [f"its weights are others (relative distance {distance:.2f} of a sample of them)"]


def _arrays(clip: CLIP) -> Iterator[tuple[str, Tensor]]:
    """The arrays of numbers of ``clip`` by name, float32 and on the CPU; counters of batches are no numbers of the model."""
    for key, values in sorted(clip.state_dict().items()):
        if values.is_floating_point():
            yield key, values.detach().float().cpu()


def _spaced(values: Tensor, n: int) -> Tensor:
    """Up to ``n`` evenly spaced values of an array, first and last among them."""
    values = values.flatten()
    if values.numel() <= n:
        return values.contiguous()
    return values[torch.linspace(0, values.numel() - 1, n, dtype=torch.float64).round().long()]
