"""EuroSAT: 27,000 Sentinel-2 images of 10 kinds of land (arXiv 1709.00029)."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, split_folders

CLASS_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


@DATASET_REGISTRY.register()
class EuroSAT(FamilyDataset):
    """EuroSAT under ROOT/eurosat."""

    dataset_dir = "eurosat"
    image_folder = "2750"
    split_file = "split_zhou_EuroSAT.json"

    def make_split(self) -> Split:
        """The folder split with the family's class names."""
        return split_folders(self.image_dir, rename=lambda folder: CLASS_NAMES.get(folder, folder))
