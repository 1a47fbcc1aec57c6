"""The test-only variants of ImageNet: no training, no few-shot lists, no base and new classes.

ImageNet-A: 7,500 natural images of 200 classes that fool ResNets (arXiv 1907.07174)
ImageNet-R: 30,000 renditions of 200 classes (arXiv 2006.16241)
ImageNet-Sketch: 50,889 sketches of the 1,000 classes (arXiv 1905.13549)
ImageNetV2: 10,000 new test images of the 1,000 classes, matched frequency (arXiv 1902.10811)
"""

from __future__ import annotations

import os
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase
from yacs.config import CfgNode

from modprompt.data import published
from modprompt.data.images import Image, class_folders, datums, file_names
from modprompt.data.listings import read_classnames
from modprompt.data.reader import WITHOUT_VALIDATION, find_images, require_only_tests
from modprompt.data.selection import images_for_selection
from modprompt.data.splits import Split, split_hash, which_of_name
from modprompt.errors import UserError
from modprompt.io.result import HELD_OUT, NOT_KNOWN


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

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """Why it has none under any root."""
        return f"{cls.__name__} has only test images"

    def __init__(self, cfg: CfgNode) -> None:
        name, half = type(self).__name__, cfg.DATASET.SUBSAMPLE_CLASSES
        folder = find_images(Path(cfg.DATASET.ROOT or "."), type(self))
        require_only_tests(type(self), trains=not cfg.TEST.ONLY)
        if half != "all":
            raise UserError(
                f"DATASET.SUBSAMPLE_CLASSES {half} is not supported by {name}, which has no base and new classes. "
                "Set DATASET.SUBSAMPLE_CLASSES to all."
            )
        self.selected_on = images_for_selection(cfg, own_validation=False)
        if self.selected_on == HELD_OUT:
            raise UserError(
                f"{name} has only test images, and therefore no validation images for selecting the best checkpoint. "
                f"Set {WITHOUT_VALIDATION}."
            )
        images = self._list(folder)
        self.image_root = str(self.image_dir)  # that image paths are relative to
        self.record_files: dict[str, str] = {}
        self.split_facts = {
            "name": name,
            "status": NOT_KNOWN,
            "hash": split_hash(Split([], None, images), self.image_dir),
            **published.class_facts(name, len({image.label for image in images})),
        }
        data = datums(images)
        super().__init__(train_x=data, val=data if self.selected_on else None, test=data)

    @classmethod
    def look(cls, folder: Path) -> tuple[Split, str, None]:
        """As FamilyDataset.look."""
        return Split([], None, cls.__new__(cls)._list(folder)), NOT_KNOWN, None

    def classes(self, names: dict[str, str]) -> list[tuple[str, str]]:
        """(folder, wnid) of each class in the order of labels: sorted folders, whose names are wnids."""
        return [(wnid, wnid) for wnid in class_folders(self.image_dir, ("README.txt",))]

    def _list(self, folder: Path) -> list[Image]:
        """All images of a data set's folder; their classes' places are stored as `which`."""
        self.image_dir, listing = folder / self.image_folder, folder / "classnames.txt"
        names = read_classnames(listing)
        images: list[Image] = []
        classes = self.classes(names)
        for label, (class_folder, wnid) in enumerate(classes):
            path = self.image_dir / class_folder
            if wnid not in names:
                raise UserError(
                    f"{listing} has no class name for the class folder {path}. Download the file again, or move the "
                    "folder elsewhere."
                )
            if not path.is_dir():
                raise UserError(f"{type(self).__name__}: the class folder {path} is missing. Add the missing images.")
            files = file_names(path)
            if not files:  # numbers would be for other classes than the data set's
                raise UserError(
                    f"The class folder {path} contains no images. Add the images, or move the folder elsewhere."
                )
            images += [Image(os.path.join(path, file), label, names[wnid]) for file in files]
        wnids = sorted(names)
        which = which_of_name([Image("", label, names[wnid]) for label, wnid in enumerate(wnids)], "all")
        self.which = tuple(which[wnids.index(wnid)] for _, wnid in classes) if which else ()
        return images


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """ImageNet-A under ROOT/imagenet-adversarial; evaluated over its own 200 classes."""

    dataset_dir = "imagenet-adversarial"
    image_folder = "imagenet-a"


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """ImageNet-R under ROOT/imagenet-rendition; evaluated over its own 200 classes."""

    dataset_dir = "imagenet-rendition"
    image_folder = "imagenet-r"


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    """ImageNet-Sketch under ROOT/imagenet-sketch."""

    dataset_dir = "imagenet-sketch"
    image_folder = "images"


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """ImageNetV2 under ROOT/imagenetv2; its folders are numbers, in the order of the lines of classnames.txt."""

    dataset_dir = "imagenetv2"
    image_folder = "imagenetv2-matched-frequency-format-val"

    def classes(self, names: dict[str, str]) -> list[tuple[str, str]]:
        """(folder, wnid) of 1,000 classes: the place of its wnid in classnames.txt is the name of its folder."""
        if len(names) < 1000:
            raise UserError(
                f"ImageNetV2 needs 1000 class names, but classnames.txt has {len(names)}. Download classnames.txt "
                "again."
            )
        return [(str(label), wnid) for label, wnid in enumerate([*names][:1000])]
