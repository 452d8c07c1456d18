"""Food101: 101,000 images of 101 dishes (ECCV 2014)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset


@DATASET_REGISTRY.register()
class Food101(ImageDataset):
    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
