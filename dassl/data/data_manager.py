"""From the config to loaders: dataset, transforms, and the order of the images."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from dassl.utils import check_availability, isolated_random_state, read_image

from .datasets import DATASET_REGISTRY
from .transforms import build_transform

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


class DatasetWrapper(Dataset):
    """Reads a list of Datum as images.

    An item is a dict: `img` (what the transform gives; `img2`, … for further transforms), `label`, `domain`,
    `impath` and `index`. In training with DATALOADER.K_TRANSFORMS above 1, `img` is a list of what the
    transform gives that many times.

    Args:
        transform: a transform, or a list or tuple of them; None gives the PIL image.
    """

    def __init__(
        self, cfg: Any, data_source: Sequence[Any], transform: Any = None, is_train: bool = False
    ) -> None:
        self.data_source, self.transform = data_source, transform
        self.n_views = cfg.DATALOADER.K_TRANSFORMS if is_train else 1

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        image = read_image(item.impath)
        sample = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        transforms = self.transform if isinstance(self.transform, list | tuple) else [self.transform]
        for number, transform in enumerate(transforms, start=1):
            name = "img" if number == 1 else f"img{number}"
            views = [image if transform is None else transform(image) for _ in range(self.n_views)]
            sample[name] = views if self.n_views > 1 else views[0]
        return sample

    def __getitems__(self, samples: Sequence[tuple[int, int]]) -> list[Any]:
        """The items of a batch, as a DataLoader asks for them, each under its seed of `SeededSampler`."""
        items = []
        for sample in samples:
            if isinstance(sample, tuple):
                index, seed = sample
                with isolated_random_state(seed):
                    items.append(self[index])
            else:
                items.append(self[sample])
        return items


def build_data_loader(cfg: Any, images: Sequence[Any] | None, is_train: bool) -> DataLoader | None:
    """A loader of a list of Datum, whose batches depend on the seed and not on DATALOADER.NUM_WORKERS.

    In training, the loading processes stay between epochs, and a last partial batch after a full one is
    dropped.
    """
    if not images:
        return None
    settings = cfg.DATALOADER.TRAIN_X if is_train else cfg.DATALOADER.TEST
    batch_size = settings.BATCH_SIZE
    check_availability(settings.SAMPLER, list(SAMPLERS), "sampler")
    n_left_out = len(images) % batch_size if is_train and len(images) > batch_size else 0
    if 10 * n_left_out > len(images):  # our choice of what is worth a line
        print(
            f"An epoch leaves out {n_left_out} of the {len(images)} training images, which do not fill "
            f"a batch of {batch_size}"
        )
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = min(cfg.DATALOADER.NUM_WORKERS, n_cores)  # more would take turns
    return DataLoader(
        DatasetWrapper(cfg, images, build_transform(cfg, is_train), is_train),
        batch_size=batch_size,
        sampler=SeededSampler(SAMPLERS[settings.SAMPLER](images), is_train),
        num_workers=n_workers,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
        drop_last=is_train and len(images) >= batch_size,
        persistent_workers=is_train and n_workers > 0,
        generator=torch.Generator(),  # or each epoch with workers would draw from the global generator
    )


class DataManager:
    """The dataset of a config with its loaders.

    Attributes: `dataset`; `train_loader_x`, `val_loader`, `test_loader`, each None where the dataset has no
    such images; `num_classes`; `lab2cname`, a dict label -> class name.
    """

    def __init__(self, cfg: Any) -> None:
        self.dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
        self.train_loader_x = build_data_loader(cfg, self.dataset.train_x, is_train=True)
        self.val_loader = build_data_loader(cfg, self.dataset.val, is_train=False)
        self.test_loader = build_data_loader(cfg, self.dataset.test, is_train=False)
        self.num_classes = self.dataset.num_classes
        self.lab2cname = self.dataset.lab2cname
        counts = [f"{len(getattr(self.dataset, part) or ()):,} {part}" for part in ("train_x", "val", "test")]
        print(f"Dataset: {cfg.DATASET.NAME}, {self.num_classes:,} classes; images: {', '.join(counts)}")
