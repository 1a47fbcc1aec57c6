"""Caltech101: objects of 100 classes (Fei-Fei et al. 2004); the clutter and the second face folder are left out."""

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, split_folders

NOT_CLASSES = ("BACKGROUND_Google", "Faces_easy")
CLASS_NAMES = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}


@DATASET_REGISTRY.register()
class Caltech101(FamilyDataset):
    """Caltech101 under ROOT/caltech-101."""

    dataset_dir = "caltech-101"
    image_folder = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"

    def make_split(self) -> Split:
        """The folder split without the two folders that are not classes."""
        return split_folders(self.image_dir, ignore=NOT_CLASSES, rename=lambda folder: CLASS_NAMES.get(folder, folder))
