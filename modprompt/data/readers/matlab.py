"""Data sets with annotations of MATLAB, read where there is no split file.

Oxford Flowers: 8,189 images of 102 flowers (Nilsback and Zisserman 2008); the official split is not used
Stanford Cars: 16,185 images of 196 models (Krause et al. 2013)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import Image
from modprompt.data.listings import read_mat
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, existing, read_record, split_groups, split_trainval
from modprompt.errors import UserError


@DATASET_REGISTRY.register()
class OxfordFlowers(FamilyDataset):
    """Oxford Flowers under ROOT/oxford_flowers."""

    dataset_dir = "oxford_flowers"
    image_folder = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    label_files = ("imagelabels.mat", "cat_to_name.json")

    def make_split(self) -> Split:
        """Images grouped by label in order of first appearance, each group split in half, a fifth and the rest."""
        label_file, name_file = (self.folder / name for name in self.label_files)
        names, _ = read_record(name_file, "file of class names", "run `modprompt prepare OxfordFlowers`")
        groups: dict[int, list[Image]] = {}
        for number, label in enumerate(read_mat(label_file, "labels").tolist(), start=1):
            name = names.get(str(label))
            if not isinstance(name, str):
                raise UserError(
                    f"{name_file} has no class name for the label {label} of {label_file}. Download both files again."
                )
            image = existing(self.image_dir, f"image_{number:05d}.jpg", label - 1, name, where=str(label_file))
            groups.setdefault(label, []).append(image)
        return split_groups(groups, str(self.image_dir))


@DATASET_REGISTRY.register()
class StanfordCars(FamilyDataset):
    """Stanford Cars under ROOT/stanford_cars."""

    dataset_dir = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"
    label_files = ("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")

    def make_split(self) -> Split:
        """The official training list, of which a fifth of each class is val, and the official test list."""
        meta, train, test = self.label_files
        try:
            names = [_year_first(_text(name)) for name in read_mat(self.folder / meta, "class_names")]
        except (IndexError, TypeError):
            raise UserError(
                f"{self.folder / meta}: the variable 'class_names' must contain class names. Download the file again."
            ) from None
        trainval = self._read(train, "cars_train", names)
        return Split(*split_trainval(trainval, str(self.image_dir)), self._read(test, "cars_test", names))

    def _read(self, file_name: str, image_folder: str, names: Sequence[str]) -> list[Image]:
        path = self.folder / file_name
        images = []
        for number, row in enumerate(read_mat(path, "annotations"), start=1):
            try:
                name, label = _text(row["fname"]), int(row["class"][0, 0]) - 1
                classname = names[label if label == row["class"][0, 0] - 1 and label >= 0 else len(names)]
            except (KeyError, IndexError, ValueError, TypeError, OverflowError):
                raise UserError(
                    f"{path}: annotation {number} has no file name, or its class is not listed in cars_meta.mat. "
                    "Download both files again."
                ) from None
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
