"""The steps of a reader, in the order that fixes the random-number stream of the family."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DatasetBase

from datasets.fewshot import FewShotCache, few_shot
from datasets.images import datums
from datasets.splits import Split, read_split, split_folders, write_split
from datasets.storage import Storage
from datasets.subsample import subsample_classes
from modprompt.errors import UserError


def find_images(root: Path, dataset_dir: str, image_folder: str, name: str) -> Path:
    """The folder of a data set under an existing root.

    Raises:
        UserError: if the root, or the images under it, are missing.
    """
    root = root.expanduser().absolute()
    folder = root / dataset_dir
    if not root.is_dir():
        raise UserError(f"DATASET.ROOT: there is no folder {root}; give --root, or set DATA for the scripts")
    if not (folder / image_folder).is_dir():
        raise UserError(
            f"{name}: there is no {folder / image_folder}; run `python -m datasets.prepare {name} --root {root}`"
        )
    return folder


class FamilyDataset(DatasetBase):
    """A data set of the family: split file (or a new split), few-shot lists, base or new classes.

    A subclass states its folders and split file, and how to split where the file is absent (`make_split`).

    Args:
        cfg: DATASET.ROOT, NUM_SHOTS, SUBSAMPLE_CLASSES and SEED are read.

    Raises:
        UserError: if the root or the images are missing, or the data do not fit the rules.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    image_folder = ""  # folder of the images under dataset_dir
    split_file = ""  # split file under dataset_dir; empty: the data set has a split of its own
    names_repeat = False  # whether several labels may have one class name
    makes_itself = False  # whether the images are written at first use

    def __init__(self, cfg):
        self.cfg = cfg
        self.folder = self.find(Path(cfg.DATASET.ROOT or "."))
        self.image_dir = self.folder / self.image_folder
        self.storage = Storage(self.folder)
        self.record_files: dict[str, str] = {}  # split file and few-shot list by the names that results give them
        with self.storage.lock():
            train, val, test = self.read_or_make_split()
            if cfg.DATASET.NUM_SHOTS >= 1:
                train, val = few_shot(train, val, cache=self.cache())
        self._check_labels(train, val, test)
        half = cfg.DATASET.SUBSAMPLE_CLASSES
        if val is None:  # the test images serve as validation images too
            train, test = subsample_classes(train, test, subsample=half)
            test = val = datums(test)
        else:
            train, val, test = subsample_classes(train, val, test, subsample=half)
            val, test = datums(val), datums(test)
        super().__init__(train_x=datums(train), val=val, test=test)

    def find(self, root: Path) -> Path:
        """The data set's folder under an existing root."""
        return find_images(root, self.dataset_dir, self.image_folder, type(self).__name__)

    def _check_labels(self, *lists: list | None) -> None:
        """Training labels are 0, 1, 2, ... without a gap, and no other list has another."""
        train = {image.label for image in lists[0]}
        where = f"{type(self).__name__} in {self.folder}"
        if not train:
            raise UserError(f"{where}: there is no training image")
        if train != set(range(len(train))):
            gap = min(set(range(len(train))) - train)
            raise UserError(f"{where}: training labels must be 0 to {len(train) - 1}, but there is no {gap}")
        for images in lists[1:]:
            unknown = {image.label for image in images or []} - train
            if unknown:
                raise UserError(f"{where}: label {min(unknown)} has test images but no training image")

    def cache(self) -> FewShotCache:
        """The few-shot cache of this run."""
        folders = list(dict.fromkeys(folder / "split_fewshot" for folder in (self.folder, self.storage.own)))
        return FewShotCache(folders, self.image_dir, self.cfg.DATASET.NUM_SHOTS, self.cfg.SEED)

    def read_or_make_split(self) -> Split:
        """The split of the split file; where there is none, a new one, which is then written."""
        path = self.storage.find(self.split_file) if self.split_file else None
        if path is not None:
            print(f"Reading split from {path}")
            return read_split(path, self.image_dir, names_repeat=self.names_repeat)
        split = self.make_split()
        if self.split_file:
            path = self.storage.own / self.split_file
            write_split(split, path, self.image_dir)
            print(f"Saved split to {path}")
        return split

    def make_split(self) -> Split:
        """A new split; from class folders unless a subclass knows better."""
        return split_folders(self.image_dir)
