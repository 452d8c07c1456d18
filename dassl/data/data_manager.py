"""From the config to loaders: dataset, transforms, samplers."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision.transforms as T
from torch.utils.data import Dataset

from .cache_folder import CacheFolder, cache_folder_of
from .datasets import build_dataset
from .loader import EpochLoader
from .picture_cache import KeptSteps, PictureCache, digest_of_tensors, sees_pixels_alone, split_transform
from .samplers import build_sampler
from .transforms import build_transform, interpolation_mode


class DatasetWrapper(Dataset):
    """Reads a list of Datum as pictures.

    An item is a dict: `img` (what the transform gives; `img2`, ... for further transforms; a list with K_TRANSFORMS > 1),
    `label`, `domain`, `impath`, `index`, and `img0`, the picture without augmentation, if DATALOADER.RETURN_IMG0.

    Args:
        cfg: the config.
        data_source: list of Datum.
        transform: a transform, or a list or tuple of them; None gives the PIL picture.
        is_train: allow K_TRANSFORMS.

    Decoding, and resizing where a transform begins with it, are done once and kept on disk (DATALOADER.CACHE_GIB); items are the same without.

    Raises:
        ValueError: K_TRANSFORMS > 1 without a transform.
    """

    _pictures: PictureCache | None = None

    def __init__(self, cfg: Any, data_source: Sequence[Any], transform: Any = None, is_train: bool = False) -> None:
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(
                f"DATALOADER.K_TRANSFORMS {self.k_tfm} needs a transform, and there is none; set it to 1, or INPUT.NO_TRANSFORM to False"
            )
        steps = [T.Resize(tuple(cfg.INPUT.SIZE), interpolation=interpolation_mode(cfg)), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        kept, transforms = self._kept_and_rest()
        picture = self._cache().picture(item.impath, kept)
        sample = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        if self.transform is None:
            sample["img"] = picture
        for position, transform in enumerate(transforms, start=1):
            sample["img" if position == 1 else f"img{position}"] = self._transformed(transform, picture)
        if self.return_img0:
            sample["img0"] = self.to_tensor(picture)
        return sample

    def open_pictures(self) -> None:
        """Called before a pass, so that loading processes share what is opened."""
        self._cache().open(self._kept_and_rest()[0])

    def digest(self) -> str | None:
        """SHA-256 of all that a pass in order depends on; None where it may be otherwise the next time, or a subclass may make it so."""
        if type(self) is not DatasetWrapper:
            return None
        return digest_of_tensors([item.impath for item in self.data_source], self.transform, self.cfg.DATASET.ROOT)

    @property
    def cache_folder(self) -> CacheFolder | None:
        """Where what is made from the pictures may be kept; None for nowhere."""
        return cache_folder_of(self.cfg)

    def _cache(self) -> PictureCache:
        if self._pictures is None:
            paths = (item.impath for item in self.data_source)
            self._pictures = PictureCache(self.cache_folder, paths, self.cfg.DATASET.ROOT)
        return self._pictures

    def _kept_and_rest(self) -> tuple[KeptSteps, list[Any]]:
        """What the present transforms let be kept of a picture, and the transforms that are still to be applied to that."""
        if self.transform is None:
            return KeptSteps(is_strict=True), []
        transforms = list(self.transform) if isinstance(self.transform, list | tuple) else [self.transform]
        if len(transforms) == 1 and self.k_tfm == 1 and not self.return_img0:
            kept, rest = split_transform(transforms[0])
            return kept, [rest]
        return KeptSteps(is_strict=not all(map(sees_pixels_alone, transforms))), transforms  # each begins with the decoded picture

    def _transformed(self, transform: Callable[[Any], Any], picture: Any) -> Any:
        pictures = [transform(picture) for _ in range(self.k_tfm)]
        return pictures if self.k_tfm > 1 else pictures[0]


def build_data_loader(
    cfg: Any,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Any] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Any = None,
    is_train: bool = True,
    dataset_wrapper: Callable[..., Dataset] | None = None,
) -> EpochLoader:
    """Build one loader.

    Args:
        cfg: the config.
        sampler_type, n_domain, n_ins: see `dassl.data.samplers.build_sampler`.
        data_source: list of Datum.
        batch_size: pictures a batch. In training a last partial batch is dropped, if the data fill at least one batch.
        tfm: the transform.
        is_train: see `EpochLoader`.
        dataset_wrapper: called as (cfg, data_source, transform=, is_train=); DatasetWrapper by default.

    DATALOADER.NUM_WORKERS processes load, or as many as there are cores, whichever is less.

    Raises:
        ValueError: no pictures, or a setting that the sampler cannot meet.
    """
    if not data_source:
        raise ValueError(
            f"no pictures to load for DATASET.NAME {cfg.DATASET.NAME} ({'training' if is_train else 'evaluation'}); check the "
            "split and the settings that choose classes, shots and domains"
        )
    wrapper = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    loader = EpochLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins),
        batch_size,
        is_train,
        num_workers=min(cfg.DATALOADER.NUM_WORKERS, _n_cores()),
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )
    if len(loader) == 0:
        raise ValueError(f"{sampler_type} makes no batch of {batch_size} from {len(data_source)} pictures; lower BATCH_SIZE")
    return loader


def _n_cores() -> int:
    """Processor cores that this process may use; more workers than that only take turns."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DataManager:
    """The dataset of a config with its loaders.

    Attributes: `dataset`; `train_loader_x`, and `train_loader_u`, `val_loader`, `test_loader`, each None where the dataset
    has no such pictures; `num_classes`; `num_source_domains`; `lab2cname`, a dict label -> class name.

    Args:
        cfg: the config.
        custom_tfm_train, custom_tfm_test: transforms in place of those that INPUT.TRANSFORMS names.
        dataset_wrapper: see `build_data_loader`.
    """

    def __init__(
        self,
        cfg: Any,
        custom_tfm_train: Any = None,
        custom_tfm_test: Any = None,
        dataset_wrapper: Callable[..., Dataset] | None = None,
    ) -> None:
        self.dataset = build_dataset(cfg)
        tfm_train = self._transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = self._transform(cfg, custom_tfm_test, is_train=False)

        def train_loader(pictures: Sequence[Any], settings: Any) -> EpochLoader:
            return build_data_loader(
                cfg, settings.SAMPLER, pictures, settings.BATCH_SIZE, settings.N_DOMAIN, settings.N_INS, tfm_train, True,
                dataset_wrapper,
            )  # fmt: skip

        def test_loader(pictures: Sequence[Any]) -> EpochLoader:
            settings = cfg.DATALOADER.TEST
            return build_data_loader(
                cfg, settings.SAMPLER, pictures, settings.BATCH_SIZE, tfm=tfm_test, is_train=False,
                dataset_wrapper=dataset_wrapper,
            )  # fmt: skip

        settings_x, settings_u = cfg.DATALOADER.TRAIN_X, cfg.DATALOADER.TRAIN_U
        settings_u = settings_x if settings_u.SAME_AS_X else settings_u
        data = self.dataset
        self.train_loader_x = train_loader(data.train_x, settings_x) if data.train_x else None
        self.train_loader_u = train_loader(data.train_u, settings_u) if data.train_u else None
        self.val_loader = test_loader(data.val) if data.val else None
        self.test_loader = test_loader(data.test) if data.test else None
        self.num_classes = self.dataset.num_classes
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self.lab2cname = self.dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)
            folder = cache_folder_of(cfg)
            if folder is not None and folder.is_on:
                print(f"Pictures that were decoded are kept in {folder}; DATALOADER.CACHE_GIB 0 keeps none")

    @staticmethod
    def _transform(cfg: Any, custom: Any, is_train: bool) -> Any:
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    def show_dataset_summary(self, cfg: Any) -> None:
        """Print the dataset's name, domains and sizes as a table."""
        rows = [("Dataset", cfg.DATASET.NAME)]
        rows += [("Source", ", ".join(cfg.DATASET.SOURCE_DOMAINS)), ("Target", ", ".join(cfg.DATASET.TARGET_DOMAINS))]
        rows += [("# classes", f"{self.num_classes:,}"), ("# train_x", _count(self.dataset.train_x))]
        rows += [("# train_u", _count(self.dataset.train_u)), ("# val", _count(self.dataset.val))]
        rows += [("# test", _count(self.dataset.test))]
        rows = [(name, value) for name, value in rows if value]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        rule = "  ".join("-" * width for width in widths)
        print("\n".join([rule, *(f"{name:<{widths[0]}}  {value}" for name, value in rows), rule]))


def _count(pictures: Sequence[Any] | None) -> str:
    return f"{len(pictures):,}" if pictures else ""
