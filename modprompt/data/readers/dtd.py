"""Describable Textures: 5,640 images of 47 textures (arXiv 1311.3618)."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset


@DATASET_REGISTRY.register()
class DescribableTextures(FamilyDataset):
    """DTD under ROOT/dtd."""

    dataset_dir = "dtd"
    image_folder = "images"
    split_file = "split_zhou_DescribableTextures.json"
