"""Train/val/test splits, read from a split file or made by one of the family's rules; base and new classes.

A split file is JSON, {"train": [[path, label, class name], ...], "val": ..., "test": ...}, with paths relative to the
image folder. Files of a folder come in the system's order, as in the reference. Shuffles are Python's random in the
reference's order, but from a generator of their own: every run makes the same split, and no other draw of the run
changes. A split of ours has a hash of its content under `modprompt`, which other readers ignore.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, NamedTuple

from dassl.utils import listdir_nohidden

from modprompt.checks import counted
from modprompt.data.images import Image, by_label, class_folders, file_names, relatives
from modprompt.data.published import SPLIT_SHA256
from modprompt.errors import UserError
from modprompt.io.base_new import base_classes
from modprompt.io.files import is_inside, read_bytes, write_whole
from modprompt.io.records import KEY, check_seal, parse_json, sealed

PARTS = ("train", "val", "test")
HALVES = ("all", "base", "new")  # of the classes: the first and second half of the sorted labels (arXiv 2203.05557)
SPLIT_SEED = 1  # of the generator that makes splits
_VERSION = 1
_ANEW = "delete the file to draw a new split"
_Rows = Mapping[str, Iterable[tuple[str, int, str]]]  # (path, label, class name) of each image, by part


class Split(NamedTuple):
    """Three lists of images; val is None where the data set has no validation images of its own."""

    train: Sequence[Image]
    val: Sequence[Image] | None
    test: Sequence[Image]


def existing(image_dir: Path, name: str, label: int, classname: str, *, where: str, anew: str = "") -> Image:
    """An image that a file lists; `anew` says what else to do if it is gone.

    Raises:
        UserError: if it is missing, or its path leads out of the image folder; the message names the file that lists
            it (`where`).
    """
    if not is_inside(name):
        raise UserError(
            f"{where} lists the path {name!r}, which must be relative to {image_dir} and must not contain `..`. "
            "Correct the path."
        )
    impath = os.path.join(image_dir, name)
    if not os.path.isfile(impath):
        raise UserError(f"{where} lists {name}, but {impath} does not exist. Add the missing images{anew}.")
    return Image(impath, label, classname)


def read_record(path: Path, what: str, what_to_do: str) -> tuple[dict[str, Any], bytes]:
    """A JSON object that may have our seal, and the file's bytes.

    Args:
        path: the file.
        what: what it should be, e.g. "split file".
        what_to_do: the advice if it is damaged.

    Raises:
        UserError: if it cannot be read, is no JSON object, or has a broken seal.
    """
    try:
        raw = read_bytes(path)
        content = parse_json(raw)
        if not isinstance(content, dict):
            raise ValueError("the file contains no JSON object")
    except OSError as error:
        raise UserError(
            f"The {what} {path} cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path} is not a complete {what} ({error}). Download the file again, or {what_to_do}."
        ) from None
    check_seal(content, path, what_to_do)
    return content, raw


def read_split(path: Path, image_dir: Path, *, names_repeat: bool = False) -> tuple[Split, str, bool]:
    """The split of a file, in its order.

    Args:
        path: the split file.
        image_dir: what its paths are relative to.
        names_repeat: whether several labels may have one class name.

    Returns:
        The lists, SHA-256 of the split in the form of the published files, and whether this project made it.

    Raises:
        UserError: if the file is not a whole split file, is a damaged one of ours, gives one label two names or two
            labels one name, or lists a missing image or a path that leads elsewhere.
    """
    content, raw = read_record(path, "split file", _ANEW)
    try:
        rows = {part: [(name, label, classname) for name, label, classname in content[part]] for part in PARTS}
        for row in (row for part in PARTS for row in rows[part]):
            if [type(value) for value in row] != [str, int, str]:
                raise TypeError(
                    f"each image must be given as a path, a whole number and a class name, not as {[*row]!r:.100}"
                )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a complete split file ({error}). Download the file again, or {_ANEW}."
        ) from None
    _check_names(path, rows, names_repeat)
    anew = f", or {_ANEW}" if KEY in content else ""
    lists = ([existing(image_dir, *row, where=f"{path} ({part})", anew=anew) for row in rows[part]] for part in PARTS)
    digest = hashlib.sha256(raw).hexdigest()
    return Split(*lists), digest if digest in SPLIT_SHA256.values() else _digest(rows), KEY in content


def _check_names(path: Path, rows: _Rows, names_repeat: bool) -> None:
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for label, classname in sorted({row[1:] for part in PARTS for row in rows[part]}):
        if label in names:
            raise UserError(
                f"{path} contains two names for the label {label}, {names[label]!r} and {classname!r}. Use one name "
                "for each label."
            )
        if classname in labels and not names_repeat:
            raise UserError(
                f"{path} contains the class name {classname!r} for the labels {labels[classname]} and {label}. Use "
                "different class names."
            )
        names[label], labels[classname] = classname, label


def _form(rows: _Rows) -> Iterator[str]:
    """A split in the form of the published files, in pieces: JSON, four spaces deep; the json module needs seconds."""
    indent = "\n" + 12 * " "
    for number, (part, items) in enumerate(rows.items()):
        yield f"{',' if number else '{'}\n    {quoted(part)}: ["
        end, between = "]", "\n"
        for name, label, classname in items:
            yield f"{between}        [{indent}{quoted(name)},{indent}{label},{indent}{quoted(classname)}\n        ]"
            end, between = "\n    ]", ",\n"
        yield end
    yield "\n}"


def _digest(rows: _Rows) -> str:
    digest = hashlib.sha256()
    for piece in _form(rows):
        digest.update(piece.encode("ascii"))
    return digest.hexdigest()


def _rows_of(split: Split, image_dir: Path) -> _Rows:
    """The rows of a split, as in a file; each part can be gone through once."""
    lists = {part: images or [] for part, images in zip(PARTS, split)}
    return {
        part: ((name, *image[1:]) for name, image in zip(relatives(images, image_dir), images, strict=True))
        for part, images in lists.items()
    }


def split_hash(split: Split, image_dir: Path) -> str:
    """SHA-256 of a split in the form of the published files."""
    return _digest(_rows_of(split, image_dir))


def write_split(split: Split, path: Path, image_dir: Path, *, made_by: str = "", names_repeat: bool = False) -> None:
    """Write a split file, whole and sealed, with paths relative to the image folder.

    Raises UserError if it could not be read again: one label has two names, or two labels one name.
    """
    rows = {part: [*listed] for part, listed in _rows_of(split, image_dir).items()}
    _check_names(path, rows, names_repeat)
    form = "".join(_form(rows))
    listing = "".join(f"{name}\n" for name in sorted(row[0] for part in PARTS for row in rows[part]))
    facts = {
        "generator": made_by or f"random.Random({SPLIT_SEED})",
        "split": hashlib.sha256(form.encode("ascii")).hexdigest(),
        "listing": hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(),
    }
    seal = json.dumps(sealed(rows, _VERSION, **facts)[KEY], indent=4).replace("\n", "\n    ")
    write_whole(path, f'{form[:-2]},\n    "{KEY}": {seal}\n}}')


def _in_three(items: list[Any], size: int, what: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Items up to half of a size, the next up to a fifth of it more, and the rest (Python's round: half to even)."""
    n_train, n_val = round(size * 0.5), round(size * 0.2)
    if min(n_train, n_val, size - n_train - n_val) < 1:
        raise UserError(
            f"{what} has {counted(size, 'image')}, but a train/val/test split needs at least 4. Add images."
        )
    return items[:n_train], items[n_train : n_train + n_val], items[n_train + n_val :]


def split_groups(groups: Mapping[int, list[Image]], what: str) -> Split:
    """One shuffle per group, then half, a fifth and the rest; UserError if a group is too small for three parts."""
    parts: tuple[list[Image], ...] = ([], [], [])
    rng = random.Random(SPLIT_SEED)
    for images in groups.values():
        rng.shuffle(images)
        for part, share in zip(parts, _in_three(images, len(images), f"{what}: class {images[0].classname!r}")):
            part += share
    return Split(*parts)


def split_folders(
    image_dir: Path,
    *,
    ignore: Collection[str] = (),
    rename: Callable[[str], str] = str,
    keep: Callable[[str], bool] | None = None,
) -> Split:
    """Half, a fifth and the rest of each class folder, after one shuffle per class.

    Args:
        image_dir: the folder of class folders.
        ignore: folders that are not classes.
        rename: class name of a folder.
        keep: which files are images; the parts are counted before the others are dropped. Without it, those named like
            images, and only these are counted.

    Raises:
        UserError: if a folder has too few images, holds a folder, or something among the folders is no folder.
    """
    parts: tuple[list[Image], ...] = ([], [], [])
    rng = random.Random(SPLIT_SEED)
    for label, folder in enumerate(class_folders(image_dir, ignore)):
        path = os.path.join(image_dir, folder)
        names = listdir_nohidden(path) if keep else file_names(path)
        rng.shuffle(names)
        kept = [_file(path, name, label, rename(folder)) for name in names if not keep or keep(name)]
        for part, share in zip(parts, _in_three(kept, len(names), path)):
            part += share
    return Split(*parts)


def _file(folder: str, name: str, label: int, classname: str) -> Image:
    impath = os.path.join(folder, name)
    if not os.path.isfile(impath):
        raise UserError(f"{impath} is not a file, but class folders may only contain images. Move {impath} elsewhere.")
    return Image(impath, label, classname)


def split_trainval(trainval: list[Image], what: str) -> tuple[list[Image], list[Image]]:
    """Train and val of a list: per label, in order of first appearance, one shuffle; the first fifth is val.

    Raises UserError if a label has fewer than 3 images, so that its fifth is empty.
    """
    train: list[Image] = []
    val: list[Image] = []
    rng = random.Random(SPLIT_SEED)
    for images in by_label(trainval).values():
        n_val = round(len(images) * 0.2)
        if n_val < 1:
            said = f"class {images[0].classname!r} has {counted(len(images), 'image')}"
            raise UserError(f"{what}: {said}, but a train/val split needs at least 3. Add images.")
        rng.shuffle(images)
        val += images[:n_val]
        train += images[n_val:]
    return train, val


def _selected(images: Sequence[Image], subsample: str) -> list[int]:
    """The labels of a half, or all."""
    if subsample not in HALVES:
        raise UserError(
            f"DATASET.SUBSAMPLE_CLASSES must be {', '.join(HALVES[:-1])} or {HALVES[-1]}, got {subsample!r}."
        )
    labels = sorted({image.label for image in images})
    half = base_classes(len(labels))
    selected = {"all": labels, "base": labels[:half], "new": labels[half:]}[subsample]
    if not selected:
        raise UserError(
            f"DATASET.SUBSAMPLE_CLASSES {subsample} selects no class, because the data set has only "
            f"{counted(len(labels), 'class')}. Set DATASET.SUBSAMPLE_CLASSES to all."
        )
    return selected


def subsample_classes(*lists: Sequence[Image], subsample: str) -> tuple[Sequence[Image], ...]:
    """The lists with the images of one half of the classes, labels renumbered from 0; `all` leaves them as they are.

    The labels of the first list decide; if their number is odd, the base half gets one more.

    Raises:
        UserError: if `subsample` is not all, base or new, or the half has no class.
    """
    if subsample == "all":
        return lists  # as they are, though they may be many
    relabel = {label: position for position, label in enumerate(_selected(lists[0], subsample))}
    return tuple(
        [image._replace(label=relabel[image.label]) for image in images if image.label in relabel] for images in lists
    )


def which_of_name(images: Sequence[Image], subsample: str) -> tuple[int, ...]:
    """For each class of a half its place, from 0, among all classes, which `images` have, of its name.

    Empty if no name repeats.
    """
    names = {image.label: image.classname for image in images}
    labels: dict[str, list[int]] = {}
    for label, name in sorted(names.items()):
        labels.setdefault(name, []).append(label)
    if len(labels) == len(names):
        return ()
    return tuple(labels[names[label]].index(label) for label in _selected(images, subsample))
