"""What the test-only variants of ImageNet share: no training, no few-shot lists, no base and new classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase
from yacs.config import CfgNode

from modprompt.data import published
from modprompt.data.images import Image, class_folders, datums, folder_images
from modprompt.data.listings import read_classnames
from modprompt.data.reader import WITHOUT_VALIDATION, find_images, selected_on
from modprompt.data.splits import Split, split_hash
from modprompt.errors import UserError
from modprompt.io import images as runs


def require_only_tests(dataset: Any, trains: bool) -> None:
    """Raise UserError if a run would train on a data set that has only test images.

    Args:
        dataset: its registered class.
        trains: whether the run trains.
    """
    if trains and getattr(dataset, "only_tests", False):
        raise UserError(
            f"{dataset.__name__} has only test images, so that nothing is trained on it: test a run that was trained "
            "elsewhere with --eval-only --model-dir"
        )


class ImageNetVariant(DatasetBase):
    """Test images in class folders; the same list serves for training, which gives the class names.

    Args:
        cfg: DATASET.ROOT and SUBSAMPLE_CLASSES are read, and of TEST whether the run trains or chooses.

    Raises:
        UserError: if images or class names are missing, or a run is to train, to choose by validation images, or to
            have half of the classes.
    """

    only_tests = True  # a run that would train is refused

    dataset_dir = ""
    image_folder = ""
    label_files = ("classnames.txt",)
    own_validation = False
    few_shot_hash = ""
    ignore: tuple[str, ...] = ()  # entries of the image folder that are not classes

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """Why it has none under any root."""
        return f"{cls.__name__} has only test images"

    def __init__(self, cfg: CfgNode) -> None:
        self.folder = find_images(Path(cfg.DATASET.ROOT or "."), type(self))
        self.image_dir = self.folder / self.image_folder
        self.listing = self.folder / "classnames.txt"
        name = type(self).__name__
        require_only_tests(type(self), trains=not cfg.TEST.ONLY)
        half = cfg.DATASET.SUBSAMPLE_CLASSES
        if half != "all":
            raise UserError(f"DATASET.SUBSAMPLE_CLASSES {half}: {name} has no base and new classes, it is tested whole")
        self.selected_on = selected_on(cfg, own_validation=False)
        if self.selected_on == runs.HELD_OUT:
            raise UserError(f"{name} has only test images, and none to choose by: {WITHOUT_VALIDATION}")
        names = read_classnames(self.listing)
        images = self.list_images(names)
        self.which = self._which_of_name(names)
        self.record_files: dict[str, str] = {}
        self.split_facts = {
            "name": name,
            "status": runs.NOT_KNOWN,
            "hash": split_hash(Split([], None, images), self.image_dir),
            **published.class_facts(name, len({image.label for image in images})),
        }
        data = datums(images)
        super().__init__(train_x=data, val=data if self.selected_on else None, test=data)

    @property
    def image_root(self) -> str:
        """The folder that image paths are relative to."""
        return str(self.image_dir)

    def wnids(self, names: dict[str, str]) -> list[str]:
        """The wnids of the classes, in label order."""
        return class_folders(self.image_dir, self.ignore)

    def _which_of_name(self, names: dict[str, str]) -> tuple[int, ...]:
        """For each class its place, from 0, among ImageNet's classes of its name; empty if no name repeats there."""
        which: dict[str, int] = {}
        wnids_by_name: dict[str, list[str]] = {}
        for wnid in sorted(names):
            others = wnids_by_name.setdefault(names[wnid], [])
            which[wnid] = len(others)
            others.append(wnid)
        return tuple(which[wnid] for wnid in self.wnids(names)) if any(which.values()) else ()

    def list_images(self, names: dict[str, str]) -> list[Image]:
        """All images, labelled by the place of their wnid among the sorted folders."""
        images = []
        for label, wnid in enumerate(class_folders(self.image_dir, self.ignore)):
            if wnid not in names:
                raise UserError(f"{self.listing} has no class name for the folder {self.image_dir / wnid}")
            images += folder_images(self.image_dir / wnid, label, names[wnid])
        return images
