"""The order in which an epoch goes through the images."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from dassl.utils import check_availability

SAMPLERS = {"RandomSampler": RandomSampler, "SequentialSampler": SequentialSampler}


class SeededSampler(Sampler[tuple[int, int]]):
    """Gives every index of another sampler a seed of its own.

    The order and the seeds of an epoch are drawn in the main process before the first image is loaded, so
    nothing depends on how many processes load the images.

    Args:
        sampler: the order of the indices.
        is_train: draw the seeds from PyTorch's global generator. Otherwise an index is its own seed, and an
            evaluation draws nothing.
    """

    def __init__(self, sampler: Sampler[int], is_train: bool) -> None:
        self.sampler, self.is_train = sampler, is_train

    def __iter__(self) -> Iterator[tuple[int, int]]:
        indices = list(self.sampler)
        seeds = torch.randint(2**63 - 1, (len(indices),)).tolist() if self.is_train else indices
        return iter(list(zip(indices, seeds, strict=True)))

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # torch declares no length of a Sampler


def build_sampler(sampler_type: str, data_source: Sequence[Any]) -> Sampler[int]:
    """Build the sampler of a name in `SAMPLERS`."""
    check_availability(sampler_type, list(SAMPLERS), "sampler")
    return SAMPLERS[sampler_type](data_source)
