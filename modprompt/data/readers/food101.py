"""Food-101: 101,000 images of 101 dishes (Bossard et al. 2014); the official train and test lists are not used."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset


@DATASET_REGISTRY.register()
class Food101(FamilyDataset):
    """Food-101 under ROOT/food-101."""

    dataset_dir = "food-101"
    image_folder = "images"
    split_file = "split_zhou_Food101.json"
