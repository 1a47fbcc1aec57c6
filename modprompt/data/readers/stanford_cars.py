"""Stanford Cars: 16,185 images of 196 models (Krause et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_mat
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, split_trainval
from modprompt.errors import UserError


@DATASET_REGISTRY.register()
class StanfordCars(FamilyDataset):
    """Stanford Cars under ROOT/stanford_cars."""

    dataset_dir = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"
    label_files = ("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")

    def make_split(self) -> Split:
        """The official training list, of which a fifth of each class is val, and the official test list."""
        meta = self.folder / "devkit/cars_meta.mat"
        try:
            names = [_year_first(_text(name)) for name in read_mat(meta, "class_names")]
        except (IndexError, TypeError):
            raise UserError(f"{meta}: 'class_names' must hold names: fetch it again") from None
        trainval = self._read("devkit/cars_train_annos.mat", "cars_train", names)
        test = self._read("cars_test_annos_withlabels.mat", "cars_test", names)
        return Split(*split_trainval(trainval, str(self.image_dir)), test)

    def _read(self, file_name: str, image_folder: str, names: Sequence[str]) -> list[Image]:
        path = self.folder / file_name
        images = []
        for number, row in enumerate(read_mat(path, "annotations"), start=1):
            try:
                name, label = _text(row["fname"]), int(row["class"][0, 0]) - 1
                classname = names[label if label == row["class"][0, 0] - 1 and label >= 0 else len(names)]
            except (KeyError, IndexError, ValueError, TypeError, OverflowError):
                raise UserError(f"{path}: annotation {number} has no file name or no class of cars_meta.mat") from None
            images.append(existing(self.image_dir, f"{image_folder}/{name}", label, classname, where=str(path)))
        return images


def _text(entry: Any) -> str:
    """A text as MATLAB stores it, an array of one; IndexError or TypeError on all else."""
    if not isinstance(entry[0], str):
        raise TypeError
    return str(entry[0])


def _year_first(name: str) -> str:
    """`AM General Hummer SUV 2000` as `2000 AM General Hummer SUV`."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"
