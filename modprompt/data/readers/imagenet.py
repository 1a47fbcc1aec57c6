"""ImageNet: 1.28 million training images of 1,000 classes; the official validation images are the test images.

The reference numbers the class folders of train and val separately, so that one missing in val shifts all labels after
it. Here a label is the wnid's place among the training folders, in both. With equal folders nothing differs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.family_pickle import read_family_pickle
from modprompt.data.fewshot import fingerprint
from modprompt.data.folder_images import Folder, FolderImages, list_folders
from modprompt.data.images import Image
from modprompt.data.listing_file import Facts, Listing, ListingFile, kept_or_listed
from modprompt.data.listings import read_classnames
from modprompt.data.reader import FamilyDataset
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


_ORDERS = {
    "system": "",
    "family": "Images in the order of {path}",
    "other": "{path} does not list the images that are there now: not used",
    "damaged": "{path} is not a whole preprocessed.pkl of the family: not used",
}


@DATASET_REGISTRY.register()
class ImageNet(FamilyDataset):
    """ImageNet under ROOT/imagenet."""

    dataset_dir = "imagenet"
    image_folder = "images"
    label_files = (CLASSNAMES,)
    looks_by_name = True

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """It has none under any root."""
        return "ImageNet has no validation images of its own"

    def read_or_make_split(self) -> Split:
        """The images as listed in a file, if nothing has changed since; else listed anew."""
        folders = self._class_folders()
        file = ListingFile(self.storage, self.image_dir, folders, (CLASSNAMES, PICKLE))
        listing = kept_or_listed(file, lambda: self._list(folders))
        self._say_order(listing.facts.order)
        self.pools_hash = listing.facts.pools
        split = Split(listing.images["train"], None, listing.images["val"])
        self.state_split(split, listing.facts.split, ours=False)
        return split

    def look_at(self, split: Split, train: Sequence[Image], val: Sequence[Image] | None) -> dict[str, str]:
        """As for other data sets, once for each list of names; all 1.28 million training images are never checked."""
        return super().look_at(split, train if self.few_shot_hash else [], val)

    def make_split(self) -> Split:
        """Training images, no validation images of their own, and the official validation images as test."""
        images, order = self._in_the_familys_order(self._class_folders())
        self._say_order(order)
        return Split(images["train"], None, images["val"])

    def _say_order(self, order: str) -> None:
        if _ORDERS.get(order):
            print(_ORDERS[order].format(path=self.folder / PICKLE))

    def _class_folders(self) -> dict[str, list[Folder]]:
        """The class folders of train and val, with labels and names.

        Raises:
            UserError: if a folder's wnid has no name, or no folder among those of train.
        """
        listing = self.folder / CLASSNAMES
        names = read_classnames(listing)
        found = {part: class_folders(self.image_dir / part) for part in ("train", "val")}
        labels = {wnid: label for label, wnid in enumerate(found["train"])}
        for part, wnids in found.items():
            for wnid in wnids:
                if wnid not in names:
                    raise UserError(f"{listing} has no class name for the folder {self.image_dir / part / wnid}")
                if wnid not in labels:
                    raise UserError(
                        f"{self.image_dir / part / wnid} is a class folder that the training images do not have"
                    )
        return {
            part: [Folder(f"{part}/{wnid}", labels[wnid], names[wnid]) for wnid in wnids]
            for part, wnids in found.items()
        }

    def _list(self, folders: dict[str, list[Folder]]) -> Listing:
        images, order = self._in_the_familys_order(folders)
        split = Split(images["train"], None, images["val"])
        facts = Facts(split_hash(split, self.image_dir), fingerprint([split.train], self.image_dir), order)
        return Listing(images, facts)

    def _in_the_familys_order(self, folders: dict[str, list[Folder]]) -> tuple[dict[str, FolderImages], str]:
        """All images, and what decides their order: an existing preprocessed.pkl, if it lists the same files."""
        images = {part: list_folders(self.image_dir, some) for part, some in folders.items()}
        path = self.folder / PICKLE
        if not path.is_file():
            return images, "system"
        try:
            lists = read_family_pickle(path, self.image_dir)
        except UserError as error:
            print(error)
            return images, "damaged"
        ordered = {}
        for part, its in (("train", "train"), ("val", "test")):
            names = [name for name, _ in lists.get(its, [])]
            present = set(images[part].names())
            if len(names) != len(present) or not present.issuperset(names):
                return images, "other"
            ordered[part] = images[part].in_order_of(names)
        return ordered, "family"
