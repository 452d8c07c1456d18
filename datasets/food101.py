"""Food101: 101,000 images of 101 dishes (ECCV 2014)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset


@DATASET_REGISTRY.register()
class Food101(ImageDataset):
    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
    source = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"
    split_source = "https://drive.google.com/file/d/1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl/view"
