"""Describable Textures (DTD): 5,640 images of 47 textures (CVPR 2014, arXiv 1311.3618)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset


@DATASET_REGISTRY.register()
class DescribableTextures(ImageDataset):
    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"
