"""How a folder is read if a command names no data set: as images of one's own, by its content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.images import holds_images, place_of_images
from modprompt.data.listings import read_lines
from modprompt.data.names import registered_names
from modprompt.errors import UserError

IMAGE_FOLDER, UNLABELLED = "image_folder", "unlabelled"  # config names
_NAMES, _POOL = "classnames.txt", "images"


def kind_of(root: Path, labels_later: bool) -> str:
    """What a folder is read as.

    IMAGE_FOLDER if its folders, or those in its train/, hold images directly; UNLABELLED if it has class names alone.

    Args:
        root: the folder.
        labels_later: whether images get their labels during the run, so that folders need not be classes.

    Raises:
        UserError: if it is missing, empty, holds data sets, or none of these.
    """
    if not root.is_dir():
        raise UserError(f"--root {root}: the folder does not exist. Check the path.")
    sets = data_sets_in(root)
    if sets:
        raise UserError(
            f"--root {root} contains the benchmark data set{'s' * (len(sets) != 1)} {', '.join(sets)}. Select the "
            f"data set with --dataset-config-file {' or '.join(sets)}."
        )
    classes = _folders_of_images(root)
    if _has_names_alone(root, classes) and (labels_later or not {*classes} - {_POOL}):
        return UNLABELLED
    if classes:
        return IMAGE_FOLDER
    what = "contains no folders with images" if os.listdir(root) else "is empty"
    unlabelled = f" Put images without labels next to a file {_NAMES}." if labels_later else ""
    raise UserError(
        f"--root {root} {what}. Put your images into ROOT/CLASS/ or ROOT/train/CLASS/.{unlabelled} "
        "For a benchmark data set, set --dataset-config-file NAME."
    )


def data_sets_in(root: Path) -> list[str]:
    """Config names of the data sets whose readers are registered and whose images are in their folder below a root."""
    readers = DATASET_REGISTRY.registered_names()
    known = {name: DATASET_REGISTRY.get(reader) for name, reader in registered_names().items() if reader in readers}
    places = {name: place_of_images(reader, root) for name, reader in known.items()}
    return [name for name, place in places.items() if place and place != root and place.is_dir()]


def names_in(dataset: str, root: Path) -> Sequence[str] | None:
    """The class names of a data set, if its reader knows them before it reads images, else none; None without a reader.

    Raises UserError if the folder is not as its reader expects.
    """
    if dataset not in DATASET_REGISTRY.registered_names():
        return None
    find = getattr(DATASET_REGISTRY.get(dataset), "names_in", None)
    return find(root) if find else ()


def require_no_images(root: Path, what: str) -> None:
    """Raise UserError if a data set's images would be written among somebody's own."""
    if _folders_of_images(root) and not data_sets_in(root):
        raise UserError(
            f"The data set {what} would be written into {root}, which contains folders with your images. Use a "
            f"different --root, or set --dataset-config-file {IMAGE_FOLDER} to use your images."
        )


def _folders_of_images(root: Path) -> list[str]:
    """Names of the folders in train/, else in the root, that hold an image directly."""
    for folder in (root / "train", root):
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        classes = [name for name in names if name[0] != "." and holds_images(folder / name)]
        if classes:
            return classes
    return []


def _has_names_alone(root: Path, folders: list[str]) -> bool:
    """Whether a root's file of class names is for images without labels: not every name has a folder before it."""
    path = root / _NAMES
    lines = (line.text.partition(" ") for line in read_lines(path)) if path.is_file() else ()
    return path.is_file() and not all(folder in folders and name for folder, _, name in lines)
