"""What the test-only variants of ImageNet share: no training, no few-shot lists, no base and new classes."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DatasetBase

from datasets.images import Image, datums, folder_images
from datasets.listings import read_classnames
from datasets.reader import find_images
from datasets.splits import class_folders
from modprompt.errors import UserError


class ImageNetVariant(DatasetBase):
    """Test images in class folders; the same list stands for training, which gives the class names.

    Args:
        cfg: DATASET.ROOT is read.

    Raises:
        UserError: if images or class names are missing.
    """

    dataset_dir = ""
    image_folder = ""
    ignore = ()  # entries of the image folder that are no classes

    def __init__(self, cfg):
        self.folder = find_images(
            Path(cfg.DATASET.ROOT or "."), self.dataset_dir, self.image_folder, type(self).__name__
        )
        self.image_dir = self.folder / self.image_folder
        self.listing = self.folder / "classnames.txt"
        data = datums(self.list_images(read_classnames(self.listing)))
        super().__init__(train_x=data, test=data)

    def list_images(self, names: dict[str, str]) -> list[Image]:
        """All images, labelled by the place of their wnid among the sorted folders."""
        images = []
        for label, wnid in enumerate(class_folders(self.image_dir, self.ignore)):
            if wnid not in names:
                raise UserError(f"{self.listing} has no class name for the folder {self.image_dir / wnid}")
            images += folder_images(self.image_dir / wnid, label, names[wnid])
        return images
