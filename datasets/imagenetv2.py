"""ImageNetV2: 10,000 new test images for ImageNet's 1,000 classes (arXiv 1902.10811)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet_variants import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    source = "https://github.com/modestyachts/ImageNetV2"

    def name_folders(self, names: dict[str, str]) -> dict[str, str]:
        """Folder i is line i of classnames.txt, counted from 0."""
        return {str(i): name for i, name in enumerate(names.values())}
