"""What a dataset is, and the registry that readers register with."""

from dassl.utils import Registry

from .base_dataset import DatasetBase, Datum

DATASET_REGISTRY = Registry("DATASET")
