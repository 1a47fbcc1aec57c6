"""Data sets inside a Python package: their images are written once as PNG files in the family's layout, with a
fixed split file, so that nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

from modprompt.data.images import Image as Listed
from modprompt.data.own_images import require_no_images
from modprompt.data.reader import FamilyDataset
from modprompt.data.splits import PARTS, Split, write_split
from modprompt.errors import UserError
from modprompt.io import lock
from modprompt.io.files import of_user
from modprompt.io.images import by_label

_PART_OF_TEN = ("train",) * 5 + ("val",) * 2 + ("test",) * 3  # part of the k-th image of a class, by k modulo 10


class EmbeddedDataset(FamilyDataset):
    """A data set whose images come with a package; a subclass defines folder, split file, names and `arrays`.

    Attributes:
        class_names: of the labels 0, 1, 2, ...
        origin: what is written, in words.
    """

    image_folder = "images"
    makes_itself = True
    class_names: tuple[str, ...] = ()
    origin = ""

    @classmethod
    def names_in(cls, root: Path) -> Sequence[str]:
        """The class names, whatever is below the root."""
        return cls.class_names

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
        if not (folder / self.image_folder).is_dir():
            raise UserError(f"{type(self).__name__}: {folder} is incomplete: move it away to write it anew")
        return super().find(root)

    def make_split(self) -> NoReturn:
        """The split file is written with the images, so one that is missing is a fault."""
        missing = self.folder / self.split_file
        raise UserError(f"{type(self).__name__}: {missing} is missing: move {self.folder} away to write it anew")

    @classmethod
    def write(cls, folder: Path) -> None:
        """Write images and split file to `folder`: made elsewhere and renamed, so that it is whole or not there.

        Raises:
            UserError: if the folder cannot be written, or the package does not have the images.
        """
        pixels, labels = cls.arrays()
        print(f"Writing the {cls.origin} to {folder}")
        taken = f"another process writes {folder}"  # never shown: it waits without limit
        aside = folder.with_name(f".{folder.name}-part")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with lock.alone(folder.with_name(f".{folder.name}.lock"), taken, patience_s=float("inf"), removes=True):
                if folder.exists():  # another process was first
                    return
                shutil.rmtree(aside, ignore_errors=True)  # what a killed one left
                try:
                    split = _split(cls._write_images(aside / cls.image_folder, pixels, labels))
                    write_split(
                        split, aside / cls.split_file, aside / cls.image_folder, made_by="by place in the class"
                    )
                    os.rename(aside, folder)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{cls.__name__}: cannot write {folder} ({reason}): give another --root") from None

    @classmethod
    def _write_images(cls, image_dir: Path, pixels: np.ndarray, labels: Sequence[int]) -> list[Listed]:
        """Write a file for each image, named by its class and its place among all."""
        for name in cls.class_names:
            (image_dir / name).mkdir(parents=True)
        images = []
        for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            path = image_dir / cls.class_names[label] / f"{number:04d}.png"
            Image.fromarray(picture).save(path)
            images.append(Listed(str(path), label, cls.class_names[label]))
        return images


def _split(images: Sequence[Listed]) -> Split:
    """By an image's place among those of its class: of ten, five train, two val and three test."""
    parts: dict[str, list[Listed]] = {part: [] for part in PARTS}
    for of_class in by_label(images).values():
        for place, image in enumerate(of_class):
            parts[_PART_OF_TEN[place % 10]].append(image)
    for part in parts.values():
        part.sort(key=lambda image: (image.label, image.impath))
    return Split(**parts)
