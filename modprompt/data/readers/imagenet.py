"""ImageNet: 1.28 million training images of 1,000 classes; the official validation images are the test images.

The reference counts class folders of train and val each for itself, so that one missing in val shifts all labels
behind it. Here a label is the wnid's place among the training folders, in both. Nothing changes where the folders are
the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.family_pickle import read_family_pickle
from modprompt.data.images import Image, folder_images, relative
from modprompt.data.listings import read_classnames
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split
from modprompt.errors import UserError


def class_folders(folder: Path) -> list[str]:
    """The class folders of train or val, sorted; files and hidden folders beside them do not count.

    Raises:
        UserError: if there is none.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder} has no class folders: the images must be sorted into folders named by wnid")
    return names


def list_images(folder: Path, labels: dict[str, int], names: dict[str, str], listing: Path) -> list[Image]:
    """All images of the class folders, folders sorted, files in the system's order.

    Raises:
        UserError: if a folder's wnid has no label or no name in `listing`.
    """
    images = []
    for wnid in class_folders(folder):
        if wnid not in names:
            raise UserError(f"{listing} has no class name for the folder {folder / wnid}")
        if wnid not in labels:
            raise UserError(f"{folder / wnid} is a class folder that the training images do not have")
        images += folder_images(folder / wnid, labels[wnid], names[wnid])
    return images


@DATASET_REGISTRY.register()
class ImageNet(FamilyDataset):
    """ImageNet under ROOT/imagenet."""

    dataset_dir = "imagenet"
    image_folder = "images"

    def make_split(self) -> Split:
        """Training images, no validation images of their own, and the official validation images as test."""
        listing = self.folder / "classnames.txt"
        names = read_classnames(listing)
        labels = {wnid: label for label, wnid in enumerate(class_folders(self.image_dir / "train"))}
        train, test = (list_images(self.image_dir / part, labels, names, listing) for part in ("train", "val"))
        return self._in_the_familys_order(train, test)

    def _in_the_familys_order(self, train: list[Image], test: list[Image]) -> Split:
        """The order of an existing preprocessed.pkl decides what a seed draws; it counts if it lists the same files."""
        path = self.folder / "preprocessed.pkl"
        if not path.is_file():
            return Split(train, None, test)
        try:
            lists = read_family_pickle(path, self.image_dir)
        except UserError as error:
            print(f"{error}: not used")
            return Split(train, None, test)
        ordered = []
        for images, part in ((train, "train"), (test, "test")):
            index = {relative(image, self.image_dir): image for image in images}
            names = [name for name, _ in lists.get(part, [])]
            if len(names) != len(index) or any(name not in index for name in names):
                print(f"{path} does not list the images that are there now: not used")
                return Split(train, None, test)
            ordered.append([index[name] for name in names])
        print(f"Images in the order of {path}")
        return Split(ordered[0], None, ordered[1])
