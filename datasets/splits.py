"""Train/val/test splits: read from a split file, or made from class folders.

A split file is JSON, {"train": [[path, label, class name], ...], "val": ..., "test": ...}, with paths relative to the
image folder.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import NamedTuple

from dassl.data.datasets import Datum
from dassl.utils import listdir_nohidden

from modprompt.errors import UserError
from modprompt.files import write_whole

PARTS = ("train", "val", "test")


class Split(NamedTuple):
    """Three lists of Datum."""

    train: list
    val: list
    test: list


def read_split(path: Path, image_dir: Path) -> Split:
    """The split of a file, its order kept.

    Raises:
        UserError: if the file is not a whole split file, or an image it lists is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {part: [(str(name), int(label), str(cname)) for name, label, cname in content[part]] for part in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a whole split file ({error}): fetch it again, or delete it to split anew"
        ) from None
    return Split(*([_datum(path, image_dir, part, *row) for row in rows[part]] for part in PARTS))


def _datum(path: Path, image_dir: Path, part: str, name: str, label: int, classname: str) -> Datum:
    impath = os.path.join(image_dir, name)
    if not os.path.isfile(impath):
        raise UserError(f"{path} ({part}) lists {name}, but there is no {impath}: complete the images")
    return Datum(impath=impath, label=label, classname=classname)


def write_split(split: Split, path: Path, image_dir: Path) -> None:
    """Write a split file, whole, with paths relative to the image folder."""
    content = {
        part: [[Path(item.impath).relative_to(image_dir).as_posix(), item.label, item.classname] for item in items]
        for part, items in zip(PARTS, split)
    }
    write_whole(path, json.dumps(content, indent=4, separators=(",", ": ")))


def split_folders(image_dir: Path, *, ignore=(), renames=None) -> Split:
    """Half, a fifth and the rest of each class folder, after one shuffle per class with Python's random.

    Labels are positions in the sorted folder names; files come in the system's order, as in the reference.

    Raises:
        UserError: if a folder has too few images for three non-empty parts, or something is no folder.
    """
    renames = renames or {}
    lists = Split([], [], [])
    folders = sorted(name for name in listdir_nohidden(image_dir) if name not in ignore)
    if not folders:
        raise UserError(f"{image_dir} has no class folder: put the images there")
    for label, folder in enumerate(folders):
        if not (image_dir / folder).is_dir():
            raise UserError(f"{image_dir / folder} stands among the class folders but is a file: move it away")
        names = listdir_nohidden(image_dir / folder)
        random.shuffle(names)
        n_train, n_val = round(len(names) * 0.5), round(len(names) * 0.2)
        if min(n_train, n_val, len(names) - n_train - n_val) < 1:
            raise UserError(f"{image_dir / folder} has {len(names)} images; a train/val/test split needs at least 4")
        classname = renames.get(folder, folder)
        items = [
            Datum(impath=os.path.join(image_dir, folder, name), label=label, classname=classname) for name in names
        ]
        lists.train.extend(items[:n_train])
        lists.val.extend(items[n_train : n_train + n_val])
        lists.test.extend(items[n_train + n_val :])
    return lists
