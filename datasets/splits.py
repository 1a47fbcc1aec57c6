"""Train/val/test splits: read from a split file, or made by one of the family's two rules.

A split file is JSON, {"train": [[path, label, class name], ...], "val": ..., "test": ...}, with paths relative to the
image folder. All shuffles are Python's random, in the order of the reference; files of a folder come in the system's
order, as there.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Callable, Collection, NamedTuple

from dassl.utils import listdir_nohidden

from datasets.images import Image, relative
from modprompt.errors import UserError
from modprompt.storage.text import write_whole

PARTS = ("train", "val", "test")


class Split(NamedTuple):
    """Three lists of images; val is None where the test images serve as validation images."""

    train: list[Image]
    val: list[Image] | None
    test: list[Image]


def existing(image_dir: Path, name: str, label: int, classname: str, *, where: str) -> Image:
    """An image that a file lists.

    Raises:
        UserError: if it is missing; the file that lists it (`where`) is named.
    """
    impath = os.path.join(image_dir, name)
    if not os.path.isfile(impath):
        raise UserError(f"{where} lists {name}, but there is no {impath}: complete the images")
    return Image(impath, label, classname)


def read_split(path: Path, image_dir: Path, *, names_repeat: bool = False) -> Split:
    """The split of a file, its order kept.

    Args:
        path: the split file.
        image_dir: what its paths are relative to.
        names_repeat: whether several labels may have one class name.

    Raises:
        UserError: if the file is not a whole split file, gives one label two names or two labels one name, or lists
            a missing image.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {part: [(str(name), int(label), str(cname)) for name, label, cname in content[part]] for part in PARTS}
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(
            f"{path} is not a whole split file ({error}): fetch it again, or delete it to split anew"
        ) from None
    _check_names(path, {row[1:] for part in PARTS for row in rows[part]}, names_repeat)
    return Split(*([existing(image_dir, *row, where=f"{path} ({part})") for row in rows[part]] for part in PARTS))


def _check_names(path: Path, pairs: set[tuple[int, str]], names_repeat: bool) -> None:
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for label, classname in sorted(pairs):
        if label in names:
            raise UserError(f"{path}: label {label} is called both {names[label]!r} and {classname!r}")
        if classname in labels and not names_repeat:
            raise UserError(f"{path}: {classname!r} is the name of both label {labels[classname]} and label {label}")
        names[label], labels[classname] = classname, label


def write_split(split: Split, path: Path, image_dir: Path) -> None:
    """Write a split file, whole, with paths relative to the image folder."""
    content = {
        part: [[relative(image, image_dir), image.label, image.classname] for image in images]
        for part, images in zip(PARTS, split)
    }
    write_whole(path, json.dumps(content, indent=4, separators=(",", ": ")))


def class_folders(image_dir: Path, ignore: Collection[str] = ()) -> list[str]:
    """Names of the class folders, sorted by code point; a name's position is its label.

    Raises:
        UserError: if there is none, or a file stands among them.
    """
    folders = sorted(name for name in listdir_nohidden(str(image_dir)) if name not in ignore)
    if not folders:
        raise UserError(f"{image_dir} has no class folder: put the images there")
    for folder in folders:
        if not (image_dir / folder).is_dir():
            raise UserError(f"{image_dir / folder} stands among the class folders but is no folder: move it away")
    return folders


def _thirds(names: list[str], what: str) -> tuple[list[str], list[str], list[str]]:
    """Half, a fifth and the rest (Python's round: half to even)."""
    n_train, n_val = round(len(names) * 0.5), round(len(names) * 0.2)
    if min(n_train, n_val, len(names) - n_train - n_val) < 1:
        raise UserError(f"{what} has {len(names)} images; a train/val/test split needs at least 4")
    return names[:n_train], names[n_train : n_train + n_val], names[n_train + n_val :]


def split_groups(groups: dict[int, list[Image]], what: str) -> Split:
    """One shuffle per group, then half, a fifth and the rest; groups in their order.

    Raises:
        UserError: if a group is too small for three non-empty parts.
    """
    split = Split([], [], [])
    for label, images in groups.items():
        random.shuffle(images)
        for part, chosen in zip(split, _thirds(images, f"{what}: label {label}")):
            part.extend(chosen)
    return split


def split_folders(
    image_dir: Path,
    *,
    ignore: Collection[str] = (),
    rename: Callable[[str], str] = str,
    keep: Callable[[str], bool] = lambda name: True,
) -> Split:
    """Half, a fifth and the rest of each class folder, after one shuffle per class.

    Args:
        image_dir: the folder of class folders.
        ignore: folders that are no classes.
        rename: class name of a folder.
        keep: which files are images; the parts are counted before the others are dropped.

    Raises:
        UserError: if a folder has too few images, holds a folder, or something among the folders is no folder.
    """
    split = Split([], [], [])
    for label, folder in enumerate(class_folders(image_dir, ignore)):
        names = listdir_nohidden(str(image_dir / folder))
        random.shuffle(names)
        sizes = [len(part) for part in _thirds(names, str(image_dir / folder))]
        names = [name for name in names if keep(name)]
        bounds = (0, sizes[0], sizes[0] + sizes[1], len(names))
        classname = rename(folder)
        for part, low, high in zip(split, bounds, bounds[1:]):
            part.extend(_file(image_dir, folder, name, label, classname) for name in names[low:high])
    return split


def _file(image_dir: Path, folder: str, name: str, label: int, classname: str) -> Image:
    impath = os.path.join(image_dir, folder, name)
    if not os.path.isfile(impath):
        raise UserError(f"{impath} stands among the images but is no file: move it away")
    return Image(impath, label, classname)


def split_trainval(trainval: list[Image], what: str) -> tuple[list[Image], list[Image]]:
    """Train and val of a list: per label, in order of first appearance, one shuffle; the first fifth is val.

    Raises:
        UserError: if a label has fewer than 3 images, so that its fifth is none.
    """
    groups: dict[int, list[int]] = {}
    for position, image in enumerate(trainval):
        groups.setdefault(image.label, []).append(position)
    train, val = [], []
    for label, positions in groups.items():
        n_val = round(len(positions) * 0.2)
        if n_val < 1:
            raise UserError(f"{what}: label {label} has {len(positions)} images; a train/val split needs at least 3")
        random.shuffle(positions)
        val += [trainval[position] for position in positions[:n_val]]
        train += [trainval[position] for position in positions[n_val:]]
    return train, val
