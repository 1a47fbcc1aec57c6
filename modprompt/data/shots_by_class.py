"""Unequal shots (DATASET.SHOTS_BY_CLASS): a table with the columns `class` and `shots`, a line for every class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from modprompt.checks import counted, some
from modprompt.data.class_names import ClassNames
from modprompt.data.images import Image
from modprompt.data.reader_facts import shots_file
from modprompt.errors import UserError
from modprompt.io.files import Refused, of_user
from modprompt.io.records import file_hash
from modprompt.io.settings import SHOTS_BY_CLASS
from modprompt.io.tables import read_table


class Line(NamedTuple):
    """A line of the table."""

    number: int  # from 1
    name: str
    shots: int


class Table(NamedTuple):
    """The lines, what messages call the file, and the SHA-256 (hex) of its bytes."""

    lines: tuple[Line, ...]
    where: str
    hash: str


def read(cfg: Any) -> Table | None:
    """The table of a run; None if all classes have the same number of shots.

    Raises:
        UserError: if DATASET.NUM_SHOTS is given, too, or the file is missing, or a line has no number above 0.
    """
    name = shots_file(cfg)
    if not name:
        return None
    where = f"{SHOTS_BY_CLASS} {name}"
    if cfg.DATASET.NUM_SHOTS >= 1:
        raise UserError(
            f"{where} and DATASET.NUM_SHOTS {cfg.DATASET.NUM_SHOTS} cannot be used together. Remove one of the two "
            "settings."
        )
    try:
        rows, digest = read_table(of_user(name), ("class", "shots")), file_hash(of_user(name))
    except OSError as error:
        raise UserError(f"{where}: the file cannot be read ({error.strerror or error}). Check the path.") from None
    for number, cells in rows:
        text = cells["shots"].strip()
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
            raise UserError(
                f"{where}, line {number}: the column `shots` must be a whole number of at least 1, got {text[:80]!r}."
            )
    return Table(tuple(Line(number, cells["class"], int(cells["shots"])) for number, cells in rows), where, digest)


def by_label(table: Table, images: Sequence[Image]) -> dict[int, int]:
    """The number of each label's training images.

    Args:
        table: the lines; a class counts as in tables of labels.
        images: the training images of all classes, base and new.

    Raises:
        UserError: if a line names no class, or one again, or more images than it has, or a class has no line.
    """
    names, counts = {image.label: image.classname for image in images}, Counter(image.label for image in images)
    labels = sorted(names)
    known, lines = ClassNames([names[label] for label in labels]), dict[int, Line]()
    for line in table.lines:
        where = f"{table.where}, line {line.number}"
        try:
            label = labels[known.find([line.name, line.name.strip()])]
        except Refused as error:
            raise UserError(f"{where}: {error}") from None
        if label in lines:
            raise UserError(
                f"{where} repeats the class {names[label]!r} of line {lines[label].number}. Remove one of the two "
                "lines."
            )
        if line.shots > counts[label]:
            raise UserError(
                f"{where} requests {line.shots} shots of the class {names[label]!r}, which has only "
                f"{counted(counts[label], 'training image')}. Reduce the number of shots, or add images."
            )
        lines[label] = line
    lacking = [names[label] for label in labels if label not in lines]
    if lacking:
        raise UserError(
            f"{table.where} has no line for the class{'es' * (len(lacking) != 1)} {some(list(map(repr, lacking)))}. "
            "Add a line for each class."
        )
    return {label: lines[label].shots for label in labels}
