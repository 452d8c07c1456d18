"""In which order an epoch goes through the pictures. All draws come from PyTorch's global generator."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from dassl.utils.registry import check_availability

SAMPLER_NAMES = ("RandomSampler", "SequentialSampler", "RandomDomainSampler", "SeqDomainSampler", "RandomClassSampler")


def _shuffled(items: Sequence[Any]) -> list[Any]:
    return [items[index] for index in torch.randperm(len(items)).tolist()]


def _as_is(items: Sequence[Any]) -> list[Any]:
    return list(items)


def _group(data_source: Sequence[Any], attribute: str) -> dict[int, list[int]]:
    """Indices of the items by the value of an attribute, in order of first appearance."""
    groups = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[getattr(item, attribute)].append(index)
    return dict(groups)


class _GroupedSampler(Sampler[int]):
    """Batches made of equal portions of several groups, each item at most once an epoch.

    The groups with the most portions left come first, in random order among equals, so that an epoch has always the same
    number of batches.
    """

    def __init__(self, groups: dict[int, list[int]], n_groups: int, portion: int) -> None:
        self.groups, self.n_groups, self.portion = groups, n_groups, portion

    def _rounds(self, order: Callable[[Sequence[Any]], list[Any]]) -> Iterator[list[int]]:
        """The groups of each batch in turn."""
        left = {group: len(indices) // self.portion for group, indices in self.groups.items()}
        while True:
            ready = [group for group in order(list(left)) if left[group]]
            if len(ready) < self.n_groups:
                return
            chosen = sorted(ready, key=left.__getitem__, reverse=True)[: self.n_groups]
            for group in chosen:
                left[group] -= 1
            yield chosen

    def __iter__(self) -> Iterator[int]:
        queues = {group: _shuffled(indices) for group, indices in self.groups.items()}
        for chosen in self._rounds(_shuffled):
            for group in chosen:
                yield from (queues[group].pop() for _ in range(self.portion))

    def __len__(self) -> int:
        return sum(self.n_groups * self.portion for _ in self._rounds(_as_is))


class RandomDomainSampler(_GroupedSampler):
    """Each batch takes the same number of pictures from each of `n_domain` randomly chosen domains.

    Args:
        data_source: items with an attribute `domain`.
        batch_size: must be a multiple of the number of domains a batch.
        n_domain: domains a batch; below 1: all.

    Raises:
        ValueError: more domains than there are, or a batch that cannot be shared out evenly.
    """

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_domain: int = 0) -> None:
        groups = _group(data_source, "domain")
        n_domain = len(groups) if n_domain < 1 else n_domain
        if n_domain > len(groups) or batch_size % n_domain:
            raise ValueError(
                f"RandomDomainSampler: batches of {batch_size} over {n_domain} of {len(groups)} domains cannot be made; "
                "set DATALOADER.*.N_DOMAIN to at most the number of domains and BATCH_SIZE to a multiple of it"
            )
        super().__init__(groups, n_domain, batch_size // n_domain)


class RandomClassSampler(_GroupedSampler):
    """Each batch takes `n_ins` pictures from each of `batch_size // n_ins` randomly chosen classes.

    Args:
        data_source: items with an attribute `label`. A class with fewer than `n_ins` pictures repeats some.
        n_ins: pictures a class in a batch.

    Raises:
        ValueError: `batch_size` is smaller than `n_ins`, or a batch needs more classes than there are.
    """

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_ins: int) -> None:
        groups = _group(data_source, "label")
        n_classes = batch_size // n_ins
        if not 1 <= n_classes <= len(groups):
            raise ValueError(
                f"RandomClassSampler: batches of {batch_size} with {n_ins} pictures a class need {n_classes} classes, and "
                f"there are {len(groups)}; change DATALOADER.*.BATCH_SIZE or N_INS"
            )
        filled = {label: indices * -(-n_ins // len(indices)) for label, indices in groups.items()}
        short = {label: filled[label][:n_ins] for label, indices in groups.items() if len(indices) < n_ins}
        super().__init__({**groups, **short}, n_classes, n_ins)


class SeqDomainSampler(Sampler[int]):
    """All pictures of one domain after the other, in order.

    Args:
        data_source: items with an attribute `domain`.
    """

    def __init__(self, data_source: Sequence[Any]) -> None:
        self.indices = [index for indices in _group(data_source, "domain").values() for index in indices]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class SeededSampler(Sampler[tuple[int, int]]):
    """Gives every index of another sampler a seed of its own, and draws a whole epoch at once.

    With the order and the seeds drawn in the main process before the first picture is loaded, nothing depends on how many
    processes load them, or when.

    Args:
        sampler: the order of the indices.
        is_train: draw the seeds from the global generator. False: an index is its own seed, so that evaluating draws
            nothing and leaves the training as it would be without it.
    """

    def __init__(self, sampler: Sampler[int], is_train: bool) -> None:
        self.sampler, self.is_train = sampler, is_train
        self._plan: list[tuple[int, int]] | None = None

    def draw_epoch(self) -> list[tuple[int, int]]:
        """Draw the order and the seeds that the next iteration gives; returns them as (index, seed)."""
        indices = list(self.sampler)
        seeds = torch.randint(2**63 - 1, (len(indices),)).tolist() if self.is_train else indices
        self._plan = list(zip(indices, seeds, strict=True))
        return self._plan

    def set_epoch(self, plan: list[tuple[int, int]]) -> None:
        """Give `plan`, pairs (index, seed), in the next iteration, in place of one that would be drawn."""
        self._plan = plan

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self._plan is None:
            self.draw_epoch()
        plan, self._plan = self._plan or [], None
        return iter(plan)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # torch declares no length of a Sampler; every one here has it


def build_sampler(
    sampler_type: str,
    cfg: Any = None,
    data_source: Sequence[Any] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler[int]:
    """Build a sampler by name.

    Args:
        sampler_type: one of SAMPLER_NAMES.
        cfg: unused; kept because callers pass it.
        data_source: the items.
        batch_size, n_domain, n_ins: for RandomDomainSampler and RandomClassSampler.

    Raises:
        KeyError: an unknown name. ValueError: settings that the sampler cannot meet.
    """
    check_availability(sampler_type, SAMPLER_NAMES, "sampler")
    if data_source is None:
        raise ValueError(f"{sampler_type} needs data_source, the items to draw from")
    if sampler_type == "RandomSampler":
        return RandomSampler(data_source)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(data_source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(data_source)
    return RandomClassSampler(data_source, batch_size, n_ins)
