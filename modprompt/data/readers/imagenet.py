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
from modprompt.data.split_files import Storage
from modprompt.data.splits import Split, split_hash
from modprompt.errors import UserError

CLASSNAMES, PICKLE = "classnames.txt", "preprocessed.pkl"


def class_folders(folder: Path) -> list[str]:
    """The class folders of train or val, sorted; files and hidden folders among them do not count.

    Raises:
        UserError: if there is none.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder} has no class folders: the images must be sorted into folders named by wnid")
    return names


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
        split = self.make_split()
        path = self.storage.own / PICKLE
        if self.storage.find(PICKLE) is None:
            try:
                write_family_pickle(path, {"train": split.train, "test": split.test})
                print(f"Saved the list of images to {path}")
            except OSError as error:
                print(f"cannot write {path} ({error.strerror}): the order of the images is the file system's")
        self.state_split(split, split_hash(split, self.image_dir), ours=False)
        return split

    def make_split(self) -> Split:
        """Training images, no validation images of their own, and the official validation images as test."""
        names = read_classnames(self.folder / CLASSNAMES)
        wnids = {part: class_folders(self.image_dir / part) for part in ("train", "val")}
        labels = {wnid: label for label, wnid in enumerate(wnids["train"])}
        images = {part: self._list(part, folders, labels, names) for part, folders in wnids.items()}
        path = Storage(self.folder).find(PICKLE)
        if path is not None:
            images = self._in_order_of(path, images)
        return Split(images["train"], None, images["val"])

    def _list(self, part: str, wnids: list[str], labels: dict[str, int], names: dict[str, str]) -> list[Image]:
        """All images of a part: folders sorted, files in the system's order.

        Raises:
            UserError: if a folder's wnid has no name, or no folder among those of train, or cannot be listed.
        """
        images = []
        for wnid in wnids:
            folder = os.path.join(self.image_dir, part, wnid)
            if wnid not in names:
                raise UserError(f"{self.folder / CLASSNAMES} has no class name for the folder {folder}")
            if wnid not in labels:
                raise UserError(f"{folder} is a class folder that the training images do not have")
            try:
                files = file_names(folder)
            except OSError as error:
                raise UserError(f"cannot list {folder} ({error.strerror})") from None
            images += [Image(f"{folder}{os.sep}{file}", labels[wnid], names[wnid]) for file in files]
        return images

    def _in_order_of(self, path: Path, images: dict[str, list[Image]]) -> dict[str, list[Image]]:
        """The images in the order of a preprocessed.pkl, if it lists them all and no others; else as they are."""
        try:
            listed = read_family_pickle(path, self.image_dir)
        except UserError as error:
            print(f"{error}: not used")
            return images
        ordered = {}
        for part, theirs in (("train", "train"), ("val", "test")):
            by_name = dict(zip(relatives(images[part], self.image_dir), images[part], strict=True))
            names = [name for name, _ in listed.get(theirs, [])]
            if len(names) != len(by_name) or by_name.keys() != set(names):
                print(f"{path} does not list the images that are there now: not used (delete it to list them anew)")
                return images
            ordered[part] = [by_name[name] for name in names]
        print(f"Images in the order of {path}")
        return ordered
