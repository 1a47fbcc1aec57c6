"""round_3.csv, the picks of a round for those who label: written with an empty `label`, read back when filled."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.data import label_file
from modprompt.data.class_names import ClassNames
from modprompt.errors import UserError
from modprompt.io.tables import Cell, write_table

COLUMNS = ("rank", "file", "predicted_class", "probability", "score", "reason", "label")


class Row(NamedTuple):
    """A pick.

    Attributes:
        rank: its place in the order of picking, from 1.
        file: its path below the image root, with forward slashes.
        predicted_class: name of the class that the model predicts; empty if no model was asked.
        probability: the model's, of that class.
        score: by which it was chosen.
        reason: why it was chosen, in a few words.
        label: the class name that the model itself gave it, for which nobody is asked; else empty.
    """

    rank: int
    file: str
    predicted_class: str
    probability: float | None
    score: float | None
    reason: str
    label: str = ""


def cells_of(row: Row) -> tuple[Cell, ...]:
    """A pick as the cells of its line, in the order of COLUMNS."""
    probability = "" if row.probability is None else f"{row.probability:.4f}"
    score = "" if row.score is None else f"{row.score + 0.0:.6g}"  # no -0
    return row.rank, row.file, row.predicted_class, probability, score, row.reason, row.label


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the picks of a round, whole; UserError if a file's name cannot be written as text."""
    write_table(path, COLUMNS, map(cells_of, rows))


def read_labels(path: Path, rows: Sequence[Row], names: Sequence[str]) -> list[int | None]:
    """The labels that were filled in.

    Args:
        path: the file.
        rows: the picks that it was written for.
        names: class names by label.

    Returns:
        A label for each of `rows`, None where there is none yet. A label that the model gave is kept.

    Raises:
        UserError: if the file is missing or not such a table, a line names an image that was not asked for or a second
            time, a line is gone, or a class is not known.
    """
    classes = ClassNames(names)
    try:
        lines = label_file.read_labels(path, {row.file: row.file for row in rows}, classes, _not_asked)
    except FileNotFoundError:
        raise UserError(f"{path} is gone: put it back with its labels filled in") from None
    gone = [row.file for row in rows if row.file not in lines]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise UserError(f"{path}: the line of {gone[0]}{more} is gone: put it back, with or without a label")
    labels = []
    for row in rows:
        label, line = lines[row.file]
        free = classes.find([row.label]) if row.label else None
        if free is not None and label not in (None, free):
            what = f"{row.file} was labelled {row.label!r} by the model, and is not asked for: leave that"
            raise UserError(f"{path}, line {line}: {what}")
        labels.append(label if free is None else free)
    return labels


def _not_asked(cell: str) -> str:
    return f"{cell!r} was not asked for in this round: remove the line"
