"""What a dataset is, and the registry that readers register with."""

from typing import Any

from dassl.utils import Registry

from .base_dataset import DatasetBase, Datum

__all__ = ["DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"]

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: Any) -> Any:
    return DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
