"""Data sets whose class folders are split in half, a fifth and the rest, where there is no split file.

Caltech101: objects of 100 classes (Fei-Fei et al. 2004); the clutter and the second face folder are left out
Caltech256: objects of 257 classes, clutter included (Griffin et al. 2007)
Describable Textures: 5,640 images of 47 textures (arXiv 1311.3618)
EuroSAT: 27,000 Sentinel-2 images of 10 kinds of land (arXiv 1709.00029)
Food-101: 101,000 images of 101 dishes (Bossard et al. 2014); the official train and test lists are not used
"""

import re

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, split_folders
from modprompt.errors import UserError

CALTECH101 = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
EUROSAT = {
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
_CALTECH256 = re.compile(r"\d{3}.(?P<cut>\w+)(?P<rest>.*)", flags=re.DOTALL)


@DATASET_REGISTRY.register()
class Caltech101(FamilyDataset):
    """Caltech101 under ROOT/caltech-101."""

    dataset_dir = "caltech-101"
    image_folder = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"

    def make_split(self) -> Split:
        """The folder split without the two folders that are not classes."""
        not_classes = ("BACKGROUND_Google", "Faces_easy")
        return split_folders(self.image_dir, ignore=not_classes, rename=lambda name: CALTECH101.get(name, name))


@DATASET_REGISTRY.register()
class Caltech256(FamilyDataset):
    """Caltech256 under ROOT/caltech-256.

    The reference cuts class names at the first hyphen (`002.american-flag` becomes "american"), which leaves 244
    different names of 257. Here a name is whole; DATASET.REFERENCE_NAMES True gives the reference's.
    """

    dataset_dir = "caltech-256"
    image_folder = "256_ObjectCategories"
    split_file = "split_huang_Caltech256.json"
    names_repeat = True  # the reference's do

    def make_split(self) -> Split:
        """The folder split; files that are not .jpg are counted, then dropped, as in the reference."""
        return split_folders(
            self.image_dir,
            rename=self._class_name,
            keep=lambda name: name.endswith(".jpg") and not name.startswith("."),
        )

    def _class_name(self, folder: str) -> str:
        """Class name of a folder such as `007.bat`."""
        match = _CALTECH256.match(folder)
        if match is None:
            raise UserError(
                f"Caltech256: the name of the folder {folder!r} does not consist of a number and a class name, as in "
                "007.bat. Move the folder elsewhere."
            )
        if self.cfg is not None and self.cfg.DATASET.get("REFERENCE_NAMES", False):
            return match["cut"]
        return match["cut"] + re.sub(r"-101\Z", "", match["rest"])


@DATASET_REGISTRY.register()
class DescribableTextures(FamilyDataset):
    """DTD under ROOT/dtd."""

    dataset_dir = "dtd"
    image_folder = "images"
    split_file = "split_zhou_DescribableTextures.json"


@DATASET_REGISTRY.register()
class EuroSAT(FamilyDataset):
    """EuroSAT under ROOT/eurosat."""

    dataset_dir = "eurosat"
    image_folder = "2750"
    split_file = "split_zhou_EuroSAT.json"

    def make_split(self) -> Split:
        """The folder split with the family's class names."""
        return split_folders(self.image_dir, rename=lambda name: EUROSAT.get(name, name))


@DATASET_REGISTRY.register()
class Food101(FamilyDataset):
    """Food-101 under ROOT/food-101."""

    dataset_dir = "food-101"
    image_folder = "images"
    split_file = "split_zhou_Food101.json"
