"""ImageNet: 1.28 million training images of 1,000 classes; the official validation images are the test images.

The reference numbers the class folders of train and val separately, so that one missing in val shifts all labels after
it. Here a label is the wnid's place among the training folders, in both. With equal folders nothing differs.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.family_pickle import read_family_pickle, write_family_pickle
from modprompt.data.fewshot import fingerprint
from modprompt.data.images import Image, file_names, relatives
from modprompt.data.listings import read_classnames
from modprompt.data.reader import FamilyDataset
from modprompt.data.reader_facts import is_few_shot, shots_file
from modprompt.data.selection import images_for_selection
from modprompt.data.splits import Split
from modprompt.errors import UserError
from modprompt.io.files import is_inside, sha256_of, write_json
from modprompt.io.records import KEY, check_seal, read_json, sealed
from modprompt.io.result import HELD_OUT
from modprompt.output import say

CLASSNAMES, PICKLE = "classnames.txt", "preprocessed.pkl"
SUMMARY = "preprocessed.json"  # of the images in the order of PICKLE; see ImageNet._write_summary
_VERSION = 1


@DATASET_REGISTRY.register()
class ImageNet(FamilyDataset):
    """ImageNet under ROOT/imagenet. The order of its images is that of the family's preprocessed.pkl.

    Where the run's few-shot list exists, only the training images that it names are examined: SUMMARY says from which
    images in which order the list must have been drawn.
    """

    dataset_dir = "imagenet"
    image_folder = "images"
    label_files = (CLASSNAMES,)
    _in_order_of_pickle = False

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """It has none under any root."""
        return "ImageNet has no validation images that are separate from its test images"

    def read_or_make_split(self) -> Split:
        """The images that are there; their list is kept as the family keeps it, for the next start and for its code.

        If the few-shot list of the run can be read without the other training images, only its images are returned.
        """
        if few_shot := self._split_of_few_shot_list():
            return few_shot
        split, path = super().read_or_make_split(), self.storage.own / PICKLE
        try:
            if self.storage.find(PICKLE) is None:
                write_family_pickle(path, {"train": split.train, "test": split.test})
                say(f"Saved the list of images to {path}")
                self._in_order_of_pickle = True
            if self._in_order_of_pickle and is_few_shot(self.cfg):
                path, summary = self.storage.own / SUMMARY, self._summary
                if summary is None or summary["split"] != self.split_facts["hash"]:
                    self._write_summary(path, split)
        except OSError as error:
            system = "the order of the images depends on the file system"
            lists = "every run lists all training images when it starts"
            say(f"note: {path} cannot be written ({error.strerror}), so {system if path.name == PICKLE else lists}.")
        return split

    def _write_summary(self, path: Path, split: Split) -> None:
        """Write what a start must know of all images besides the few-shot list.

        It has the hash of PICKLE, that of the training images as few-shot lists name their pool, that of the split,
        the classes with their number of training images, and the test images in order.
        """
        pickle = self.storage.find(PICKLE)
        assert pickle is not None
        sizes, classes = Counter(image.label for image in split.train), self._classes()
        content = {
            "order": sha256_of(pickle),
            "train": fingerprint([split.train], self.image_dir),
            "split": self.split_facts["hash"],
            "classes": [[wnid, name, sizes[label]] for label, (wnid, name) in enumerate(classes.items())],
            "test": list(relatives(split.test, self.image_dir)),
        }
        write_json(path, sealed(content, _VERSION))

    @functools.cached_property
    def _summary(self) -> dict[str, Any] | None:
        """Return the content of SUMMARY; None if it is missing, damaged, or of another PICKLE or other classes."""
        path, pickle = self.storage.find(SUMMARY), self.storage.find(PICKLE)
        content = None if path is None else read_json(path)
        if content is None or pickle is None:
            return None
        try:
            if not check_seal(content, path) or content[KEY].get("version") != _VERSION:
                return None
        except UserError:
            say(f"note: {path} is damaged, so the folders of all training images are read again.")
            return None
        classes = [[*item] for item in self._classes().items()]
        fits = [row[:2] for row in content["classes"]] == classes and content["order"] == sha256_of(pickle)
        return content if fits else None

    def _split_of_few_shot_list(self) -> Split | None:
        """Return the images of the few-shot list and the test images; None if all training images are needed."""
        cfg = self.cfg
        if not is_few_shot(cfg) or shots_file(cfg) or images_for_selection(cfg, own_validation=False) == HELD_OUT:
            return None
        summary = self._summary
        if summary is None:
            return None
        names = {wnid: name for wnid, name, _ in summary["classes"]}
        labels = {wnid: label for label, wnid in enumerate(names)}

        def find(name: str) -> Image | None:
            part, _, rest = name.partition("/")
            wnid, path = rest.partition("/")[0], os.path.join(self.image_dir, name)
            is_known = part == "train" and wnid in labels and is_inside(name) and os.path.isfile(path)
            return Image(path, labels[wnid], names[wnid]) if is_known else None

        try:
            test = self._in_order(self._list("val", labels, names), [(name, 0) for name in summary["test"]])
        except KeyError:
            return None
        sizes = {label: number for label, (_, _, number) in enumerate(summary["classes"])}
        if not self.few_shot_cache.read_train(summary["train"], sizes, find):
            return None
        say(f"Training images are read in the order in which {self.storage.find(PICKLE)} lists them.")
        split = Split(self.few_shot_cache.lists([], None)[0], None, test)
        self.split_facts = self._facts(split, summary["split"], ours=False)
        return split

    def _classes(self) -> dict[str, str]:
        """Return the class name of each class folder of the training images, in the order of the labels."""
        names = read_classnames(self.folder / CLASSNAMES)
        wnids = self._wnids("train")
        lacking = next((wnid for wnid in wnids if wnid not in names), None)
        if lacking is not None:
            folder = os.path.join(self.image_dir, "train", lacking)
            raise UserError(
                f"{self.folder / CLASSNAMES} has no class name for the class folder {folder}. Download the file "
                "again, or move the folder elsewhere."
            )
        return {wnid: names[wnid] for wnid in wnids}

    def make_split(self) -> Split:
        """Training images, no validation images of their own, and the official validation images as test."""
        names = self._classes()
        labels = {wnid: label for label, wnid in enumerate(names)}
        train, test = (self._list(part, labels, names) for part in ("train", "val"))
        path = self.storage.find(PICKLE)
        if path is not None:
            try:
                listed = read_family_pickle(path, self.image_dir)
                train, test = self._in_order(train, listed["train"]), self._in_order(test, listed["test"])
                say(f"Training images are read in the order in which {path} lists them.")
                self._in_order_of_pickle = True
            except KeyError:
                say(
                    f"note: {path} is not used, because the images have changed since it was written. Delete the file "
                    "to list the images again."
                )
            except UserError as error:
                say(f"note: {error} The file is not used.")
        return Split(train, None, test)

    def _wnids(self, part: str) -> list[str]:
        """The class folders of train or val, sorted; files and hidden folders among them do not count."""
        folder = self.image_dir / part
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist. Run `modprompt prepare ImageNet` for instructions.")
        wnids = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
        if not wnids:
            raise UserError(
                f"{folder} contains no class folders. Sort the images into folders that are named by WordNet ID (wnid)."
            )
        return wnids

    def _list(self, part: str, labels: Mapping[str, int], names: Mapping[str, str]) -> list[Image]:
        """All images of a part: folders sorted, files in the system's order."""
        images = []
        for wnid in self._wnids(part):
            folder = os.path.join(self.image_dir, part, wnid)
            if wnid not in labels:
                raise UserError(
                    f"The class folder {folder} has no counterpart among the training images. Add its training "
                    "images, or move the folder elsewhere."
                )
            images += [Image(f"{folder}{os.sep}{file}", labels[wnid], names[wnid]) for file in file_names(folder)]
        return images

    def _in_order(self, images: list[Image], rows: list[tuple[str, int]]) -> list[Image]:
        """The images in the order of a list's rows; KeyError if it does not list them all, each once, and no others."""
        by_name = dict(zip(relatives(images, self.image_dir), images, strict=True))
        ordered = [by_name.pop(name) for name, _ in rows]
        if by_name:
            raise KeyError
        return ordered
