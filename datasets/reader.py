"""The steps of a reader, in the order that fixes the random-number stream of the family."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DatasetBase

from datasets.fewshot import few_shot
from datasets.splits import Split, read_split, split_folders, write_split
from datasets.subsample import subsample_classes
from modprompt.errors import UserError


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
    split_file = ""  # split file under dataset_dir
    how_to_get = "see DATASETS.md of the CoOp repository"

    def __init__(self, cfg):
        self.folder = self.find(Path(cfg.DATASET.ROOT or "."))
        self.image_dir = self.folder / self.image_folder
        split = self.read_or_make_split()
        train, val = split.train, split.val
        if cfg.DATASET.NUM_SHOTS >= 1:
            train, val = few_shot(
                train,
                val,
                shots=cfg.DATASET.NUM_SHOTS,
                seed=cfg.SEED,
                cache_dir=self.folder / "split_fewshot",
                image_dir=self.image_dir,
            )
        train, val, test = subsample_classes(train, val, split.test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)

    def find(self, root: Path) -> Path:
        """The data set's folder under an existing root."""
        root = root.expanduser().absolute()
        folder = root / self.dataset_dir
        if not root.is_dir():
            raise UserError(f"DATASET.ROOT: there is no folder {root}; give --root, or set DATA for the scripts")
        if not (folder / self.image_folder).is_dir():
            raise UserError(f"{type(self).__name__}: there is no {folder / self.image_folder}; {self.how_to_get}")
        return folder

    def read_or_make_split(self) -> Split:
        """The split of the split file; where there is none, a new one, which is then written."""
        path = self.folder / self.split_file
        if path.is_file():
            print(f"Reading split from {path}")
            return read_split(path, self.image_dir)
        split = self.make_split()
        write_split(split, path, self.image_dir)
        print(f"Saved split to {path}")
        return split

    def make_split(self) -> Split:
        """A new split; from class folders unless a subclass knows better."""
        return split_folders(self.image_dir)
