"""Unlabelled: a folder of images and a file of class names, for rounds that choose which images are labelled.

    ROOT/classnames.txt          a class name a line; its place is its label
    ROOT/images/**               the images, at any depth; without this folder those below ROOT, except ROOT/test
    ROOT/labels.csv              may be missing: columns `file` (path below ROOT) and `label` (class name), of existing
                                 labels; the file of a round (round_3.csv), filled in, is one
    ROOT/test/<class>/**         may be missing: test images; a folder's name is a class name

Files and folders whose names begin with a dot are left out, and so is the folder of the run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from yacs.config import CfgNode

from modprompt.checks import counted
from modprompt.clip.tokens import require_distinct_names
from modprompt.data.class_names import ClassNames
from modprompt.data.fewshot import FOLDER
from modprompt.data.images import UNKNOWN, Image, datums, relatives
from modprompt.data.label_file import read_labels
from modprompt.data.listings import read_lines
from modprompt.data.reader import WITHOUT_VALIDATION, require_several_classes
from modprompt.data.reader_facts import is_few_shot
from modprompt.data.selection import images_for_selection
from modprompt.errors import UserError
from modprompt.io.files import Refused, of_user
from modprompt.io.image_files import PEOPLE, SUFFIXES, is_image_name
from modprompt.io.result import HELD_OUT, NOT_KNOWN
from modprompt.io.settings import TRAIN_ON_VAL
from modprompt.io.text import is_text
from modprompt.output import say

_OURS = ("classnames.txt", "labels.csv")


def _class_names(path: Path) -> list[str]:
    """The names in the file, by line.

    Raises:
        UserError: if there is none, or one is there twice; as CLIP reads them, without regard to case.
    """
    names = [line.text for line in read_lines(path, "Write one class name per line into the file.")]
    if not names:
        raise UserError(f"{path} contains no class names. Write one class name per line into the file.")
    try:
        require_distinct_names(names)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return names


def _images_below(folder: Path, skipped: Collection[Path] = ()) -> list[str]:
    """Paths of the images at any depth, without hidden and skipped ones; it prints how many other files are left out.

    Links to folders are followed last, and no folder is read twice, so that circles end.

    Raises:
        UserError: if a folder cannot be read, or something with an image's name is no file or has no name in UTF-8.
    """
    left_out = tuple(f"{os.path.realpath(path)}{os.sep}" for path in skipped)
    tops, known = [str(folder)], set()
    paths: list[str] = []
    for top in tops:  # which links lengthen
        for current, folders, files in os.walk(top, onerror=_refuse):
            real = os.path.realpath(current)
            if real in known or f"{real}{os.sep}".startswith(left_out):
                folders.clear()
                continue
            known.add(real)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            tops += [path for name in folders if os.path.islink(path := os.path.join(current, name))]
            paths += [os.path.join(current, name) for name in sorted(files) if name[0] != "." and name not in _OURS]
    images = [path for path in paths if is_image_name(path)]
    for path in images:
        if not is_text(path):
            raise UserError(f"The path {path!r} is not valid UTF-8. Rename the file or its folder.")
        if not os.path.isfile(path):
            raise UserError(f"{path} has the name of an image, but is not a regular file. Move {path} elsewhere.")
    if len(images) < len(paths):
        other = next(path for path in paths if not is_image_name(path))
        number = counted(len(paths) - len(images), "file")
        say(
            f"note: {folder} contains {number} without a supported image extension, which will not be used. The first "
            f"is {other!r}."
        )
    return images


def _refuse(error: OSError) -> None:
    raise UserError(f"Cannot list the folder {error.filename} ({error.strerror}). Check its permissions.")


@DATASET_REGISTRY.register()
class Unlabelled(DatasetBase):
    """Images without labels, images with labels, and test images.

    Args:
        cfg: DATASET.ROOT, NUM_SHOTS and SUBSAMPLE_CLASSES are read, OUTPUT_DIR, the keys of features, and of TEST
            those on what is tested and chosen by.

    Attributes:
        pool: images without a label, sorted by path; their label is -1.
        has_test: whether there are test images. If not, `test` holds one image as a placeholder.
        split_facts: its hash is of all lists and class names.

    Raises:
        UserError: if images or class names are missing, files are wrong, or the run needs something that is missing.
    """

    read_as = PEOPLE
    dataset_dir = image_folder = ""
    own_validation = False
    few_shot_hash = ""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self.folder = of_user(cfg.DATASET.ROOT or ".").absolute()
        if not self.folder.is_dir():
            raise UserError(f"DATASET.ROOT {self.folder}: the folder does not exist. Set --root to an existing folder.")
        self.names = _class_names(self.folder / "classnames.txt")
        self._known = ClassNames(self.names)
        self.image_root, self.record_files = str(self.folder), dict[str, str]()
        unlabelled, labelled = self._training_images()
        test = self._test_images()
        self.has_test = bool(test)
        self._require_what_the_run_needs(bool(labelled))
        digest = hashlib.sha256(json.dumps(self.names).encode("ascii"))
        for images in (unlabelled, labelled, test):
            rows = [(name, image.label) for name, image in zip(relatives(images, self.folder), images)]
            digest.update(json.dumps(rows).encode("ascii"))
        self.split_facts = {"name": "Unlabelled", "status": NOT_KNOWN, "hash": digest.hexdigest()}
        self.pool: list[Datum] = datums(unlabelled)
        tested = datums(test or [*unlabelled, *labelled][:1])
        train = tested if cfg.TEST.ONLY else datums(labelled)
        super().__init__(train_x=train, val=tested if self.selected_on else None, test=tested)

    @classmethod
    def names_in(cls, root: Path) -> list[str]:
        """The class names of a folder; no image is looked at."""
        return _class_names(root / "classnames.txt")

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """It has none under any root."""
        return "the data set Unlabelled has no validation images"

    def get_num_classes(self, data_source: Sequence[Datum]) -> int:
        """The number of all classes, also of those without an image."""
        return len(self.names)

    def get_lab2cname(self, data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """({label: class name}, class names by label) of all classes."""
        return dict(enumerate(self.names)), list(self.names)

    def _training_images(self) -> tuple[list[Image], list[Image]]:
        """Images without and with a label, each sorted by path."""
        inner = self.folder / "images"
        folder = inner if inner.is_dir() else self.folder
        skipped = {self.folder / "test", self.folder / FOLDER}
        if self.cfg.OUTPUT_DIR:
            skipped.add(of_user(self.cfg.OUTPUT_DIR).absolute())
        images = [Image(path, UNKNOWN, "") for path in _images_below(folder, skipped)]
        if not images:
            raise UserError(
                f"No images were found in {folder}. Supported extensions: {', '.join(SUFFIXES)}. Put images into this "
                "folder or its subfolders."
            )
        by_name = dict(sorted(zip(relatives(images, self.folder), images)))
        labels = self._labels([*by_name])
        labelled = [Image(by_name[name].impath, labels[name], self.names[labels[name]]) for name in sorted(labels)]
        return [image for name, image in by_name.items() if name not in labels], labelled

    def _labels(self, names: Sequence[str]) -> dict[str, int]:
        """{file: label} of labels.csv; empty if there is none."""
        path = self.folder / "labels.csv"
        files = {name.removeprefix("images/"): name for name in names} | {name: name for name in names}
        unknown = "The image {!r} does not exist in {}. Enter the path of an image in this folder."
        try:
            lines = read_labels(path, files, self._known, lambda cell: unknown.format(cell, self.folder))
        except FileNotFoundError:
            return {}
        labels = {file: line.label for file, line in lines.items() if line.label is not None}
        if len(labels) < len(lines):
            say(
                f"note: {path}: {len(lines) - len(labels)} of {len(lines)} lines have no label. Their images count as "
                "unlabelled."
            )
        return labels

    def _test_images(self) -> list[Image]:
        folder = self.folder / "test"
        images = []
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name[0] == ".":
                continue
            if not entry.is_dir():
                raise UserError(
                    f"{entry} is not a folder, but test/ may only contain class folders. Move the file into the "
                    "folder of its class."
                )
            try:
                label = self._known.find([entry.name])
            except Refused as error:
                raise UserError(f"{folder}: {error}") from None
            images += [Image(path, label, self.names[label]) for path in sorted(_images_below(entry))]
        if folder.is_dir() and not images:
            raise UserError(
                f"{folder} contains no images. Put test images into the folders of their classes, or remove {folder}."
            )
        return images

    def _require_what_the_run_needs(self, has_labels: bool) -> None:
        """Raise UserError unless there is what this run trains on, tests on and chooses by."""
        cfg, later = self.cfg, bool(self.cfg.ACTIVE.ROUNDS)
        require_several_classes(self.names, f"Unlabelled in {self.folder}", cfg)
        if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
            half = cfg.DATASET.SUBSAMPLE_CLASSES
            raise UserError(
                f"DATASET.SUBSAMPLE_CLASSES {half} is not supported for images without labels. Set "
                "DATASET.SUBSAMPLE_CLASSES to all."
            )
        if is_few_shot(cfg):
            asked = f"NUM_SHOTS {cfg.DATASET.NUM_SHOTS}" if cfg.DATASET.NUM_SHOTS >= 1 else "SHOTS_BY_CLASS"
            raise UserError(
                f"DATASET.{asked} is not supported by the data set Unlabelled, because every image with a label is "
                "used for training. Remove this setting."
            )
        if cfg.DATASET.TRAIN_ON_VAL:
            raise UserError(
                f"{TRAIN_ON_VAL} True is not supported by the data set Unlabelled, which has no validation "
                "images. Remove this setting."
            )
        self.selected_on = images_for_selection(cfg, own_validation=False)
        if self.selected_on == HELD_OUT or (self.selected_on and not self.has_test):
            raise UserError(
                "The data set Unlabelled has no validation images for selecting the best checkpoint. Set "
                f"{WITHOUT_VALIDATION}."
            )
        if not self.has_test and (cfg.TEST.ONLY or not (later or cfg.TEST.NO_TEST)):
            how = "" if cfg.TEST.ONLY else ", or set TEST.NO_TEST to True"
            raise UserError(
                f"The data set Unlabelled in {self.folder} has no test images. Put test images into "
                f"{self.folder / 'test'}, with one subfolder for each class{how}."
            )
        if not (later or has_labels or cfg.TEST.ONLY):
            raise UserError(
                f"The data set Unlabelled in {self.folder} has no labels to train on. Set ACTIVE.ROUNDS to label "
                "images in active-learning rounds, set --no-train for zero-shot CLIP, or list existing labels in "
                f"{self.folder / 'labels.csv'}."
            )
