"""Train/val/test splits: read from a split file, or made by one of the family's two rules.

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

from modprompt.data.images import Image, class_folders, file_names, relatives
from modprompt.data.published import SPLIT_SHA256
from modprompt.errors import UserError
from modprompt.io.files import is_inside, read_bytes, write_whole
from modprompt.io.images import by_label
from modprompt.io.records import KEY, check_seal, parse_json, sealed

PARTS = ("train", "val", "test")
SPLIT_SEED = 1  # of the generator that makes splits
_VERSION = 1
_ANEW = "delete it to split anew"
_Row = tuple[str, int, str]  # path, label, class name


class Split(NamedTuple):
    """Three lists of images; val is None where the data set has no validation images of its own."""

    train: Sequence[Image]
    val: Sequence[Image] | None
    test: Sequence[Image]


class SplitFile(NamedTuple):
    """What a split file holds.

    split: the lists.
    hash: SHA-256 of the split in the form of the published files.
    ours: whether this project made it.
    """

    split: Split
    hash: str
    ours: bool


def existing(image_dir: Path, name: str, label: int, classname: str, *, where: str, anew: str = "") -> Image:
    """An image that a file lists; `anew` says what else to do if it is gone.

    Raises:
        UserError: if it is missing, or its path leads out of the image folder; the message names the file that lists
            it (`where`).
    """
    if not is_inside(name):
        raise UserError(f"{where} lists {name!r}: a path must be relative, without `..`, below {image_dir}")
    impath = os.path.join(image_dir, name)
    if not os.path.isfile(impath):
        raise UserError(f"{where} lists {name}, but there is no {impath}: complete the images{anew}")
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
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path} is not a whole {what} ({error}): fetch it again, or {what_to_do}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a whole {what} (it is no object): fetch it again, or {what_to_do}")
    strange = [key for key, value in content.items() if isinstance(value, dict) and "hash" in value and key != KEY]
    if strange or (KEY in content and not isinstance(content[KEY], dict)):
        raise UserError(f"{path} is damaged or was changed by hand (its seal is malformed): {what_to_do}")
    check_seal(content, path, what_to_do)
    return content, raw


def read_split(path: Path, image_dir: Path, *, names_repeat: bool = False) -> SplitFile:
    """The split of a file, in its order.

    Args:
        path: the split file.
        image_dir: what its paths are relative to.
        names_repeat: whether several labels may have one class name.

    Raises:
        UserError: if the file is not a whole split file, is a damaged one of ours, gives one label two names or two
            labels one name, or lists a missing image or a path that leads elsewhere.
    """
    content, raw = read_record(path, "split file", _ANEW)
    try:
        rows = {part: [_row(*row) for row in content[part]] for part in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a whole split file ({error}): fetch it again, or {_ANEW}") from None
    _check_names(path, {row[1:] for part in PARTS for row in rows[part]}, names_repeat)
    anew = f", or {_ANEW}" if KEY in content else ""
    split = Split(
        *([existing(image_dir, *row, where=f"{path} ({part})", anew=anew) for row in rows[part]] for part in PARTS)
    )
    digest = hashlib.sha256(raw).hexdigest()
    return SplitFile(split, digest if digest in SPLIT_SHA256.values() else _digest(rows), KEY in content)


def _row(name: Any, label: Any, classname: Any) -> _Row:
    if not (isinstance(name, str) and isinstance(classname, str) and isinstance(label, int)) or isinstance(label, bool):
        raise TypeError(f"an image is a path, a whole number and a class name, not {[name, label, classname]!r:.100}")
    return name, label, classname


def _digest(rows: Mapping[str, Iterable[_Row]]) -> str:
    digest = hashlib.sha256()
    for piece in _form(rows):
        digest.update(piece.encode("ascii"))
    return digest.hexdigest()


def _check_names(path: Path, pairs: set[tuple[int, str]], names_repeat: bool) -> None:
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for label, classname in sorted(pairs):
        if label in names:
            raise UserError(f"{path}: label {label} is called both {names[label]!r} and {classname!r}")
        if classname in labels and not names_repeat:
            raise UserError(f"{path}: {classname!r} is the name of both label {labels[classname]} and label {label}")
        names[label], labels[classname] = classname, label


def _form(rows: Mapping[str, Iterable[_Row]]) -> Iterator[str]:
    """A split in the form of the published files, in pieces: JSON, four spaces deep; the json module needs seconds."""
    indent = "\n" + 12 * " "
    between_parts = "{"
    for part, items in rows.items():
        yield f"{between_parts}\n    {quoted(part)}: ["
        between, end = "\n", "]"
        for name, label, classname in items:
            listed = f"        [{indent}{quoted(name)},{indent}{label},{indent}{quoted(classname)}\n        ]"
            yield between + listed
            between, end = ",\n", "\n    ]"
        yield end
        between_parts = ","
    yield "\n}"


def rows_of(images: Iterable[Image], image_dir: Path) -> Iterator[_Row]:
    """(path, label, class name) of each image, as in a file."""
    listed = list(images)
    return ((name, *image[1:]) for name, image in zip(relatives(listed, image_dir), listed, strict=True))


def split_hash(split: Split, image_dir: Path) -> str:
    """SHA-256 of a split in the form of the published files."""
    return _digest({part: rows_of(images or [], image_dir) for part, images in zip(PARTS, split)})


def write_split(split: Split, path: Path, image_dir: Path, *, made_by: str = "", names_repeat: bool = False) -> str:
    """Write a split file, whole and sealed, with paths relative to the image folder; returns the split's hash.

    Raises:
        UserError: if it could not be read again: one label has two names, or two labels one name.
    """
    rows = {part: list(rows_of(images or [], image_dir)) for part, images in zip(PARTS, split)}
    _check_names(path, {row[1:] for part in PARTS for row in rows[part]}, names_repeat)
    form = "".join(_form(rows))
    listing = "".join(f"{name}\n" for name in sorted(row[0] for part in PARTS for row in rows[part]))
    facts = {
        "generator": made_by or f"random.Random({SPLIT_SEED})",
        "split": hashlib.sha256(form.encode("ascii")).hexdigest(),
        "listing": hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(),
    }
    seal = json.dumps(sealed(rows, _VERSION, **facts)[KEY], indent=4).replace("\n", "\n    ")
    write_whole(path, f'{form[:-2]},\n    "{KEY}": {seal}\n}}')
    return facts["split"]


def _bounds(size: int, what: str) -> tuple[int, int]:
    """Where half of so many images ends, and a fifth behind them (Python's round: half to even)."""
    n_train, n_val = round(size * 0.5), round(size * 0.2)
    if min(n_train, n_val, size - n_train - n_val) < 1:
        raise UserError(f"{what} has {size} images; a train/val/test split needs at least 4")
    return n_train, n_train + n_val


def _add(parts: Sequence[list[Image]], images: list[Image], bounds: tuple[int, int]) -> None:
    for part, low, high in zip(parts, (0, *bounds), (*bounds, None)):
        part += images[low:high]


def split_groups(groups: dict[int, list[Image]], what: str) -> Split:
    """One shuffle per group, then half, a fifth and the rest; groups in their order.

    Raises:
        UserError: if a group is too small for three non-empty parts.
    """
    parts: tuple[list[Image], ...] = ([], [], [])
    rng = random.Random(SPLIT_SEED)
    for label, images in groups.items():
        rng.shuffle(images)
        _add(parts, images, _bounds(len(images), f"{what}: label {label}"))
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
        names = listdir_nohidden(str(image_dir / folder)) if keep else file_names(image_dir / folder)
        rng.shuffle(names)
        bounds = _bounds(len(names), str(image_dir / folder))
        kept = [name for name in names if keep(name)] if keep else names
        _add(parts, [_file(image_dir, folder, name, label, rename(folder)) for name in kept], bounds)
    return Split(*parts)


def _file(image_dir: Path, folder: str, name: str, label: int, classname: str) -> Image:
    impath = os.path.join(image_dir, folder, name)
    if not os.path.isfile(impath):
        raise UserError(f"{impath} is among the images but is no file: move it away")
    return Image(impath, label, classname)


def split_trainval(trainval: list[Image], what: str) -> tuple[list[Image], list[Image]]:
    """Train and val of a list: per label, in order of first appearance, one shuffle; the first fifth is val.

    Raises:
        UserError: if a label has fewer than 3 images, so that its fifth is empty.
    """
    train: list[Image] = []
    val: list[Image] = []
    rng = random.Random(SPLIT_SEED)
    for label, images in by_label(trainval).items():
        n_val = round(len(images) * 0.2)
        if n_val < 1:
            raise UserError(f"{what}: label {label} has {len(images)} images; a train/val split needs at least 3")
        rng.shuffle(images)
        val += images[:n_val]
        train += images[n_val:]
    return train, val
