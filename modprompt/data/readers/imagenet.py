"""ImageNet: 1.28 million training images of 1,000 classes; the official validation images are the test images.

The reference numbers the class folders of train and val separately, so that one missing in val shifts all labels after
it. Here a label is the wnid's place among the training folders, in both. With equal folders nothing differs.
"""

from __future__ import annotations

import os
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.family_pickle import read_family_pickle, write_family_pickle
from modprompt.data.images import Image, file_names, relatives
from modprompt.data.listings import read_classnames
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split
from modprompt.errors import UserError

CLASSNAMES, PICKLE = "classnames.txt", "preprocessed.pkl"


@DATASET_REGISTRY.register()
class ImageNet(FamilyDataset):
    """ImageNet under ROOT/imagenet. The order of its images is that of the family's preprocessed.pkl."""

    dataset_dir = "imagenet"
    image_folder = "images"
    label_files = (CLASSNAMES,)

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """It has none under any root."""
        return "ImageNet has no validation images of its own"

    def read_or_make_split(self) -> Split:
        """The images that are there; their list is kept as the family keeps it, for the next start and for its code."""
        split, path = super().read_or_make_split(), self.storage.own / PICKLE
        if self.storage.find(PICKLE) is None:
            try:
                write_family_pickle(path, {"train": split.train, "test": split.test})
                print(f"Saved the list of images to {path}")
            except OSError as error:
                print(f"cannot write {path} ({error.strerror}): the order of the images is the file system's")
        return split

    def make_split(self) -> Split:
        """Training images, no validation images of their own, and the official validation images as test."""
        names = read_classnames(self.folder / CLASSNAMES)
        labels = {wnid: label for label, wnid in enumerate(self._wnids("train"))}
        train, test = (self._list(part, labels, names) for part in ("train", "val"))
        path = self.storage.find(PICKLE)
        if path is not None:
            try:
                listed = read_family_pickle(path, self.image_dir)
                train, test = self._in_order(train, listed["train"]), self._in_order(test, listed["test"])
                print(f"Images in the order of {path}")
            except KeyError:
                print(f"{path} does not list the images that are there now: not used (delete it to list them anew)")
            except UserError as error:
                print(f"{error}: not used")
        return Split(train, None, test)

    def _wnids(self, part: str) -> list[str]:
        """The class folders of train or val, sorted; files and hidden folders among them do not count."""
        folder = self.image_dir / part
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        wnids = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
        if not wnids:
            raise UserError(f"{folder} has no class folders: the images must be sorted into folders named by wnid")
        return wnids

    def _list(self, part: str, labels: dict[str, int], names: dict[str, str]) -> list[Image]:
        """All images of a part: folders sorted, files in the system's order."""
        images = []
        for wnid in self._wnids(part):
            folder = os.path.join(self.image_dir, part, wnid)
            if wnid not in names:
                raise UserError(f"{self.folder / CLASSNAMES} has no class name for the folder {folder}")
            if wnid not in labels:
                raise UserError(f"{folder} is a class folder that the training images do not have")
            images += [Image(f"{folder}{os.sep}{file}", labels[wnid], names[wnid]) for file in file_names(folder)]
        return images

    def _in_order(self, images: list[Image], rows: list[tuple[str, int]]) -> list[Image]:
        """The images in the order of a list's rows; KeyError if it does not list them all, each once, and no others."""
        by_name = dict(zip(relatives(images, self.image_dir), images, strict=True))
        ordered = [by_name.pop(name) for name, _ in rows]
        if by_name:
            raise KeyError
        return ordered
