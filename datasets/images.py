"""One image of a data set as the readers pass it around, before it becomes a Datum."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, NamedTuple

from dassl.data.datasets import Datum
from dassl.utils import listdir_nohidden


class Image(NamedTuple):
    """An image file (absolute path), its label and class name. Light: an ImageNet has a million of them."""

    impath: str
    label: int
    classname: str


def relative(image: Image, image_dir: Path) -> str:
    """The image's path below its folder, with forward slashes."""
    folder = f"{image_dir}{os.sep}"
    path = image.impath[len(folder) :] if image.impath.startswith(folder) else os.path.relpath(image.impath, image_dir)
    return path.replace(os.sep, "/")


def folder_images(folder: str | Path, label: int, classname: str) -> list[Image]:
    """The images of a class folder, in the system's order, hidden files left out."""
    return [Image(os.path.join(folder, name), label, classname) for name in listdir_nohidden(str(folder))]


def datums(images: Iterable[Image]) -> list[Datum]:
    """The images as Dassl's records, each checked to exist."""
    return [Datum(impath=image.impath, label=image.label, classname=image.classname) for image in images]
