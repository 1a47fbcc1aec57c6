"""Digits: the 1,797 handwritten digits inside scikit-learn (UCI Optical Recognition of Handwritten Digits, CC BY 4.0).

They are written once as 8 x 8 PNG files in the family's layout, with a fixed split file, so that everything can be
tried without a download.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

import numpy as np
from dassl.data.datasets import DATASET_REGISTRY
from PIL import Image

from modprompt.data.images import Image as Listed
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import PARTS, Split, write_split
from modprompt.errors import UserError

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_PART_OF_TEN = ("train",) * 5 + ("val",) * 2 + ("test",) * 3  # part of the k-th image of a class, by k modulo 10


def write_digits(folder: Path) -> None:
    """Write images and split file to `folder`: made aside and renamed, so that it is whole or not there.

    Raises:
        UserError: if the folder cannot be written.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"Digits: cannot write {folder} ({error.strerror}): give another --root") from None
    parts: dict[str, list[Listed]] = {part: [] for part in PARTS}
    seen = [0] * 10
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target.tolist())):
        name = f"{CLASS_NAMES[label]}/{number:04d}.png"
        path = aside / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels * 255 / 16).astype(np.uint8)).save(path)  # 0 to 16 -> 0 to 255
        parts[_PART_OF_TEN[seen[label] % 10]].append(Listed(str(path), label, CLASS_NAMES[label]))
        seen[label] += 1
    for images in parts.values():
        images.sort(key=lambda image: (image.label, image.impath))
    write_split(Split(**parts), aside / Digits.split_file, aside / "images", made_by="by place in the class")
    aside.chmod(0o755)
    try:
        os.rename(aside, folder)
    except OSError:  # another process was first
        shutil.rmtree(aside)
        if not (folder / Digits.split_file).is_file():
            raise UserError(f"Digits: {folder} exists but is not whole: move it away") from None


@DATASET_REGISTRY.register()
class Digits(FamilyDataset):
    """Handwritten digits under ROOT/digits; base = zero to four, new = five to nine."""

    dataset_dir = "digits"
    image_folder = "images"
    split_file = "split_digits.json"
    makes_itself = True

    def find(self, root: Path) -> Path:
        """The folder, written at first use."""
        folder = root.expanduser().absolute() / self.dataset_dir
        if not folder.exists():
            print(f"Writing the handwritten digits of scikit-learn to {folder}")
            write_digits(folder)
        if not (folder / self.image_folder).is_dir():
            raise UserError(f"Digits: {folder} is not whole: move it away to write it anew")
        return super().find(root)

    def make_split(self) -> NoReturn:
        """The split file is written with the images, so one that is missing is a fault."""
        raise UserError(f"Digits: {self.folder / self.split_file} is missing: move {self.folder} away to write it anew")
