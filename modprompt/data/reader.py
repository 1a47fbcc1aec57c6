"""The steps of a reader, in the order that fixes the random-number stream of the family."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import DatasetBase
from yacs.config import CfgNode

from modprompt.checks import counted
from modprompt.data import fewshot, published, shots_by_class
from modprompt.data.conflicts import trains_on_validation
from modprompt.data.fewshot import Shots, hold_out
from modprompt.data.images import Image, datums, place_of_images
from modprompt.data.reader_facts import is_few_shot, own_validation
from modprompt.data.selection import (
    images_for_selection,
    needs_validation,
    validation_images,
)
from modprompt.data.split_files import Storage
from modprompt.data.splits import (
    Split,
    read_split,
    split_folders,
    split_hash,
    subsample_classes,
    which_of_name,
    write_split,
)
from modprompt.errors import UserError
from modprompt.io import images as runs
from modprompt.io.files import of_user
from modprompt.io.result import AS_TRAINING, HELD_OUT, TEST, WHOLE
from modprompt.io.settings import TRAIN_ON_VAL
from modprompt.io.text import one_line
from modprompt.output import say

# the alternatives without images to choose by
WITHOUT_VALIDATION = (
    "TEST.FINAL_MODEL last_step with TEST.SPLIT test, or DATASET.VAL_FROM_TEST True to select on the test images"
)


def find_images(root: Path, reader: Any) -> Path:
    """The folder of a reader's data set under an existing root.

    Raises:
        UserError: if the root, or the images under it, are missing.
    """
    root = of_user(root).absolute()
    images, name = place_of_images(reader, root), reader.__name__
    if not root.is_dir():
        more = "" if images is None else f", or run `modprompt prepare {name} --root {root}`"
        raise UserError(
            f"DATASET.ROOT {root}: the folder does not exist. Set --root (or the variable DATA if you use the "
            f"scripts) to an existing folder{more}."
        )
    if images is not None and not images.is_dir():
        raise UserError(f"{name}: the folder {images} does not exist. Run `modprompt prepare {name} --root {root}`.")
    folder: Path = root / reader.dataset_dir
    return folder


def require_only_tests(dataset: Any, trains: bool) -> None:
    """Raise UserError if a run `trains` on a data set, given by its registered class, that has only test images."""
    if trains and getattr(dataset, "only_tests", False):
        raise UserError(
            f"{dataset.__name__} has only test images, so it cannot be used for training. Use --eval-only --model-dir "
            "to test a model that was trained on another data set."
        )


def require_several_classes(names: Collection[str], where: str, cfg: CfgNode) -> None:
    """Raise UserError if a run trains on a data set with a single class, of which every answer would be right."""
    if len(names) == 1 and not cfg.TEST.get("ONLY", False):
        raise UserError(
            f"{where} has only one class, {next(iter(names))!r}, so every prediction is correct and nothing can be "
            "learned. Add the images of another class."
        )


class FamilyDataset(DatasetBase):
    """A data set of the family: split file (or a new split), few-shot lists, base or new classes.

    A subclass defines its folders and split file, and how to split if the file is missing (`make_split`).

    Args:
        cfg: DATASET.ROOT, NUM_SHOTS, SHOTS_BY_CLASS, SUBSAMPLE_CLASSES, VAL_FROM_TEST, TRAIN_ON_VAL and SEED are read;
            of TEST the keys that choose by validation images, and NO_TEST.

    Attributes:
        has_test: whether there are test images. If not, `test` holds one training image as a placeholder.

    What results say of it is in the attributes of `data.reader_facts.ReaderFacts`.

    Raises:
        UserError: if the root or the images are missing, or the data break the rules.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    image_folder = ""  # folder of the images under dataset_dir
    split_file = ""  # split file under dataset_dir; empty: the data set has a split of its own
    label_files: tuple[str, ...] = ()  # under dataset_dir, needed where there is no split file
    names_repeat = False  # whether several labels may have one class name
    makes_itself = False  # whether the images are written on first use
    lists_beside_run = False  # whether few-shot lists go into the run's folder, and no folder among the images
    cfg: Any = None  # of the run

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self._open(self.find(Path(cfg.DATASET.ROOT or ".")))
        if self.storage.own != self.folder:
            say(
                f"note: {self.folder} is read-only, so the split and the few-shot lists are stored in "
                f"{self.storage.own}."
            )
        self.record_files: dict[str, str] = {}
        half, table = cfg.DATASET.SUBSAMPLE_CLASSES, shots_by_class.read(cfg)
        self.shots: Shots = cfg.DATASET.NUM_SHOTS
        self.shots_hash = table.hash if table else ""
        with self._alone():
            split = self.read_or_make_split()
            if trains_on_validation(cfg):
                if not split.val:
                    say(f"note: {cfg.DATASET.NAME} has no validation images, so {TRAIN_ON_VAL} True adds no images.")
                split = Split([*split.train, *(split.val or ())], None, split.test)
            train, val, test = split
            self.few_shot_hash = ""
            if table:
                self.shots = shots_by_class.by_label(table, train)
            if is_few_shot(cfg):
                train, val = self._few_shot(split)
            # all names that are needed are read here: their file may have changed later
            self._check_labels(train, val, test)
            self.own_validation = own_validation(split)
            self.selected_on = images_for_selection(cfg, self.own_validation)
            val = self._validation(split, train, val)
        self.which = which_of_name(train, half)
        stands_in = val is None or (not val and cfg.DATASET.get("VAL_FROM_TEST", False))  # test images serve as both
        train, val, test = subsample_classes(train, val or (), test, subsample=half)
        self.has_test = bool(test)
        if not test:
            self._require_no_test()
        test = datums(test or train[:1])  # Dassl's loader needs an image
        val = test if stands_in else datums(val)
        few = fewshot.unequal(train) if table else fewshot.fewer_than(cfg.DATASET.NUM_SHOTS, train)
        self.notes = [one_line(few)] if few and not cfg.TEST.get("ONLY", False) else []
        for note in self.notes:
            say(f"note: {note}.")
        super().__init__(train_x=datums(train), val=val, test=test)

    def _open(self, folder: Path) -> None:
        self.folder, self.image_dir, self.storage = folder, folder / self.image_folder, Storage(folder)
        self.image_root = str(self.image_dir)

    @classmethod
    def without_validation(cls, root: Path) -> str:
        """Hook: why there are no validation images of its own under a root; empty if there may be some."""
        return ""

    @classmethod
    def without_test(cls, root: Path) -> str:
        """Hook: return why there are no test images under a root; empty if there may be some."""
        return ""

    def _require_no_test(self) -> None:
        """Raise UserError if a run on a data set without test images needs some."""
        only_tests = self.cfg.TEST.get("ONLY", False)
        if self.cfg.TEST.NO_TEST and not only_tests and self.selected_on != TEST:
            return
        why = self.without_test(self.folder) or f"{type(self).__name__} in {self.folder} has no test images"
        other = "" if only_tests else ", or train with TEST.NO_TEST True and TEST.FINAL_MODEL last_step"
        raise UserError(f"{why}. Add test images{other}.")

    def find(self, root: Path) -> Path:
        """The data set's folder under an existing root."""
        return find_images(root, type(self))

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """While files are made other processes wait; among one's own images only while a split is made."""
        if not self.lists_beside_run:
            return self.storage.lock(fewshot.FOLDER)
        makes = self.split_file and self.storage.find(self.split_file) is None
        return self.storage.lock("") if makes else contextlib.nullcontext()

    def _present(self) -> tuple[tuple[Split, str, bool], Path | None]:
        """The split of the split file, and that file; where there is none, a new one, which is not written yet."""
        path = self.storage.find(self.split_file)
        if path is not None:
            return read_split(path, self.image_dir, names_repeat=self.names_repeat), path
        split = self.make_split()
        return (split, split_hash(split, self.image_dir), bool(self.split_file)), None

    def read_or_make_split(self) -> Split:
        """The split of the split file; where there is none, a new one, which is then written."""
        (split, digest, ours), path = self._present()
        if path is not None:
            say(f"Reading split from {path}")
            self.check_against_folder(split, path)
        names = {image.label: image.classname for image in split.train}
        require_several_classes([*names.values()], f"{type(self).__name__} in {self.folder}", self.cfg)
        if path is None and ours:
            path = self.storage.own / self.split_file
            write_split(split, path, self.image_dir, names_repeat=self.names_repeat)
            say(f"Saved split to {path}")
        if path is not None:
            self._record(path)
        self.split_facts = self._facts(split, digest, ours)
        return split

    def _record(self, path: Path) -> None:
        root = of_user(self.cfg.DATASET.ROOT or ".").absolute()
        self.record_files[self.storage.recorded_name(path, root)] = str(path)

    def check_against_folder(self, split: Split, path: Path) -> None:
        """Hook: refuse a folder that is not the one its split file was made from."""

    def make_split(self) -> Split:
        """A new split, always the same; from class folders unless a subclass has another way."""
        return split_folders(self.image_dir)

    def _facts(self, split: Split, digest: str, ours: bool) -> dict[str, str]:
        name = type(self).__name__
        status = published.split_status(
            name, digest, ours, lambda shots, seed: fewshot.hashes_of_seed(split, shots, seed, self.image_dir)
        )
        classes = published.class_facts(name, len({image.label for image in split.test}))
        return {"name": name, "status": status, "hash": digest, **classes}

    @classmethod
    def look(cls, folder: Path) -> tuple[Split, str, Path | None]:
        """The split of a data set's folder, its status, and its file, if any; raises as a run. Nothing is written."""
        reader = cls.__new__(cls)
        reader._open(folder)
        (split, digest, ours), path = reader._present()
        return split, reader._facts(split, digest, ours)["status"], path

    @classmethod
    def split_hash_now(cls, root: Path) -> str | None:
        """The hash of the split that the folders under a root give; raises as a run. Nothing is written.

        None for a data set whose split is always kept in a file; empty for folders that are not split yet.
        """
        if isinstance(cls.split_file, str) and cls.split_file:
            return None
        reader = cls.__new__(cls)
        reader._open(reader.find(root))
        return "" if reader.split_file else split_hash(reader.make_split(), reader.image_dir)

    @functools.cached_property
    def few_shot_cache(self) -> fewshot.FewShotCache:
        """The files of the few-shot lists, in the family's place, or, of a folder of photos, in the run's folder."""
        cfg = self.cfg
        folders: list[Path | None] = [folder / fewshot.FOLDER for folder in self.storage.folders]
        if self.lists_beside_run:
            folders.append(of_user(cfg.OUTPUT_DIR) / fewshot.FOLDER if cfg.OUTPUT_DIR else None)
        val_first = cfg.DATASET.get("VAL_FIRST", False)
        name = f"shots_{self.shots_hash[:12]}" if self.shots_hash else ""
        return fewshot.FewShotCache(folders, self.image_dir, self.shots, cfg.SEED, val_first, name)

    def _few_shot(self, split: Split) -> tuple[Sequence[Image], Sequence[Image] | None]:
        cache = self.few_shot_cache
        train, val = cache.lists(split.train, split.val)
        if cache.path and cache.path.parent.parent in self.storage.folders:
            self._record(cache.path)
        self.few_shot_hash = "/".join(runs.list_hash(images, self.image_root) for images in (train, val or []))
        return train, val

    def _check_labels(self, train: Sequence[Image], *others: Sequence[Image] | None) -> None:
        """Training labels are 0, 1, 2, ... without a gap, and no other list has another."""
        known = {image.label for image in train}
        names = {image.label: image.classname for images in others for image in images or []}
        where = f"{type(self).__name__} in {self.folder}"
        if not known:
            raise UserError(f"{where} has no training images. Add training images.")
        gaps = set(range(len(known))) - known
        if gaps:
            gap = f"{min(gaps)} ({names[min(gaps)]!r})" if min(gaps) in names else min(gaps)
            raise UserError(
                f"{where}: the labels of the training images must include every number from 0 to {len(known) - 1}, "
                f"but no image has the label {gap}. Correct the split or the lists of images."
            )
        unknown = names.keys() - known
        if unknown:
            raise UserError(
                f"{where}: the class {names[min(unknown)]!r} has test images but no training images. Add training "
                "images of this class."
            )

    def _validation(self, split: Split, train: Sequence[Image], val: Sequence[Image] | None) -> Sequence[Image] | None:
        """The images to choose by; training images held out where something chooses and there are no others.

        Raises:
            UserError: if all training images are used, so that none can be held out.
        """
        cfg = self.cfg
        if self.selected_on == WHOLE:
            return split.val
        if self.selected_on == AS_TRAINING:
            return fewshot.validation_of_seed(split, self.shots, cfg.SEED)
        if self.selected_on != HELD_OUT:
            return None if validation_images(cfg) == TEST else val
        per_class = fewshot.few(self.shots)
        images = hold_out(split.train, train, per_class, cfg.SEED) if is_few_shot(cfg) else []
        if not images and not needs_validation(cfg):
            self.selected_on = ""  # nothing may choose by the test images, which stand in for validation images
            return val
        if not images:
            raise UserError(
                f"{cfg.DATASET.NAME} has no validation images for selecting the best checkpoint, and no training "
                f"images are left for this purpose. Reduce DATASET.NUM_SHOTS, or set {WITHOUT_VALIDATION}."
            )
        lacking = len({image.label for image in train} - {image.label for image in images})
        some = f"; {lacking} class{'es have' if lacking > 1 else ' has'} no further images" if lacking else ""
        say(
            f"{cfg.DATASET.NAME} has no validation images, so {counted(len(images), 'training image')} "
            f"{'is' if len(images) == 1 else 'are'} held out for selecting the best checkpoint (up to "
            f"{per_class if isinstance(per_class, int) else max(per_class.values())} per class{some})."
        )
        return images
