"""Caltech101: 100 kinds of object; the background class and a second folder of faces are left out."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset


@DATASET_REGISTRY.register()
class Caltech101(ImageDataset):
    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    folder_names = {
        "airplanes": "airplane",
        "Faces": "face",
        "Leopards": "leopard",
        "Motorbikes": "motorbike",
    }
    folders_left_out = ("BACKGROUND_Google", "Faces_easy")
