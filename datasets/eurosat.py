"""EuroSAT: 27,000 satellite images of 64x64 pixels in 10 classes of land use (arXiv 1709.00029)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import ImageDataset


@DATASET_REGISTRY.register()
class EuroSAT(ImageDataset):
    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"
    folder_names = {  # Forest and River keep their folder's
        "AnnualCrop": "Annual Crop Land",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "SeaLake": "Sea or Lake",
    }
