"""A data loader whose batches depend on the seed alone, not on how many processes load them."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from dassl.utils.seeding import isolated_random_state

from .samplers import SeededSampler
from .worker_ends import WORKER_ENDS


class SeededDataset(Dataset):
    """Computes each item of another dataset with all CPU generators seeded by the sample's own seed.

    Args:
        dataset: any map-style dataset; its other attributes are read and set from here, as a trainer does that gives a
            loader's dataset another transform.
    """

    n_changes: int

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.n_changes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: Any) -> Any:
        if not isinstance(sample, tuple):
            return self.dataset[sample]
        index, seed = sample
        with isolated_random_state(seed):
            return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)  # asked while unpickling, before there is a dataset
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("dataset", "n_changes"):
            super().__setattr__(name, value)
            return
        setattr(self.dataset, name, value)
        self.n_changes += 1  # workers that are kept hold a copy from before


class EpochLoader(DataLoader):
    """A DataLoader that draws an epoch's order and one seed a sample when its iteration starts.

    Two runs with one seed give the same batches with any number of workers and any way of starting them. In training the
    workers live as long as the loader; an evaluation's stop at its end.

    Args:
        dataset: any map-style dataset.
        sampler: the order of its indices.
        batch_size: samples a batch.
        is_train: keep workers, draw seeds from the global generator, and drop a last partial batch if there is a full one.
        num_workers: loading processes; 0 loads in the main one.
        pin_memory: load into page-locked memory, for a GPU.
    """

    dataset: SeededDataset
    sampler: SeededSampler
    batch_size: int

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler[int],
        batch_size: int,
        is_train: bool,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        seeded_sampler = SeededSampler(sampler, is_train)
        super().__init__(
            SeededDataset(dataset),
            batch_size=batch_size,
            sampler=seeded_sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            drop_last=is_train and len(seeded_sampler) >= batch_size,
            persistent_workers=is_train and num_workers > 0,
            # The loader draws its workers' base seed; a generator of its own keeps that out of the global one, from which
            # a loader with workers and one without would otherwise draw unequally often.
            generator=torch.Generator(),
            worker_init_fn=_obey_the_run_alone,
        )
        self._n_changes = 0
        self._epoch: list[tuple[int, int]] = []  # (index, seed) of every sample of the present pass
        self._n_given = 0  # batches of it that have been handed out
        self._is_resumed = False

    def __iter__(self) -> Any:
        if self.dataset.n_changes != self._n_changes:
            self.stop_workers()
            self._n_changes = self.dataset.n_changes
        if self._is_resumed:
            self._is_resumed = False
            self.sampler.set_epoch(self._epoch[self._n_given * self.batch_size :])
        else:
            self._epoch, self._n_given = self.sampler.draw_epoch(), 0
        open_pictures = getattr(self.dataset, "open_pictures", None)  # a `DatasetWrapper` has it
        if open_pictures is not None:
            open_pictures()
        batches = super().__iter__()
        WORKER_ENDS.watch(batches)
        return _CountedBatches(self, batches)

    def position(self) -> dict[str, Any]:
        """Where the present pass stands, as plain data and one tensor, for `resume_at`; whatever workers have loaded ahead does not count."""
        plan = torch.tensor(self._epoch, dtype=torch.int64).reshape(-1, 2)
        return {"plan": plan, "n_given": self._n_given}

    @property
    def is_started(self) -> bool:
        """Whether there has been a pass, so that there is a position."""
        return bool(self._epoch)

    def resume_at(self, position: dict[str, Any] | None) -> None:
        """Let the next iteration go on where `position` was taken, without drawing and without loading what came before; None takes that back."""
        self._is_resumed = position is not None
        if position is not None:
            self._epoch = [(index, seed) for index, seed in position["plan"].tolist()]
            self._n_given = position["n_given"]

    def digest_of_evaluation(self) -> str | None:
        """SHA-256 of all that the batches of an evaluation depend on; None for a training, or where they may be others the next time."""
        if self.sampler.is_train or type(self.sampler.sampler) is not SequentialSampler:
            return None
        of_dataset = getattr(self.dataset, "digest", lambda: None)()  # a `DatasetWrapper` has it
        return None if of_dataset is None else hashlib.sha256(f"{of_dataset} {self.batch_size}".encode()).hexdigest()

    def stop_workers(self) -> None:
        """End the workers that are kept between epochs; the next epoch starts new ones."""
        self._iterator = None


def repeated(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of one pass after the other, without end."""
    while True:
        yield from loader


class _CountedBatches:
    """An iteration of an EpochLoader that tells it how many batches were asked for; in all else, PyTorch's own."""

    def __init__(self, loader: EpochLoader, batches: Any) -> None:
        self._loader, self._batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._batches)

    def __next__(self) -> Any:
        batch = WORKER_ENDS.next_of(self._batches)
        self._loader._n_given += 1
        return batch

    def __getattr__(self, name: str) -> Any:
        if name == "_batches":
            raise AttributeError(name)
        return getattr(self._batches, name)


def _obey_the_run_alone(worker_id: int) -> None:
    """Let a loading process pass over signals that are not from its run, so that the run can end its step and save.

    Ctrl-C, and a scheduler's SIGTERM, reach all processes of a run at once; a worker that ended before the run would make it fail. The run ends its
    workers itself, and they end by themselves when it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # tells who sent a signal; not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_run_says_so, daemon=True).start()


def _end_when_the_run_says_so() -> None:
    run = multiprocessing.parent_process()
    while run is not None and signal.sigwaitinfo({signal.SIGTERM}).si_pid != run.pid:
        pass
    os._exit(0)
