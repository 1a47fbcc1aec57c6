"""round_3.csv, the picks of a round for those who label: written with an empty `label`, read back when filled.

It is read without PyTorch, so that the state of an experiment says which labels a run waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.data import label_file
from modprompt.data.class_names import ClassNames, distinct
from modprompt.data.rounds import FOLDER, WAITING
from modprompt.errors import UserError
from modprompt.io.records import read_json
from modprompt.io.tables import Cell, read_table, write_table
from modprompt.io.text import one_line

COLUMNS = ("rank", "file", "predicted_class", "probability", "score", "reason", "label")


class Picked(NamedTuple):
    """An image that a round has chosen.

    file: its path below the image folder, with forward slashes.
    predicted: the class number that the model gave it; None where no model was asked.
    probability: of that class.
    score: by which it was chosen; None where it was drawn.
    reason: why, in words.
    free: the label that the model itself gave it, for which nobody is asked.
    label: the label that training uses, once it is known.
    """

    file: str
    predicted: int | None
    probability: float | None
    score: float | None
    reason: str
    free: int | None = None
    label: int | None = None


def cells_of(rank: int, pick: Picked, names: Sequence[str]) -> tuple[Cell, ...]:
    """A pick as the cells of its line, in the order of COLUMNS.

    Args:
        rank: its place in the order of picking, from 1.
        pick: the pick; in the column `label` is the label that training uses, else the model's.
        names: class names by label, as `distinct` gives them.
    """
    label = pick.free if pick.label is None else pick.label
    return (
        rank,
        pick.file,
        "" if pick.predicted is None else names[pick.predicted],
        "" if pick.probability is None else f"{pick.probability:.4f}",
        "" if pick.score is None else f"{pick.score + 0.0:.6g}",  # no -0
        pick.reason,
        "" if label is None else names[label],
    )


def write(path: Path, picks: Sequence[Picked], names: Sequence[str]) -> None:
    """Write the picks of a round, whole; UserError if a file's name cannot be written as text."""
    named = distinct(names)
    write_table(path, COLUMNS, [cells_of(rank, pick, named) for rank, pick in enumerate(picks, start=1)])


def read_labels(path: Path, picks: Sequence[Picked], names: Sequence[str]) -> list[int | None]:
    """The labels that were filled in.

    Args:
        path: the file.
        picks: those that it was written for.
        names: class names by label.

    Returns:
        A label for each of `picks`, None where there is none yet. A label that the model gave is kept.

    Raises:
        UserError: if the file is missing or not such a table, a line names an image that was not asked for or a second
            time, a line is gone, or a class is not known.
    """
    classes = ClassNames(names)
    try:
        lines = label_file.read_labels(path, {pick.file: pick.file for pick in picks}, classes, _not_asked)
    except FileNotFoundError:
        raise UserError(f"The file {path}, which contains the labels, is missing. Restore the file.") from None
    gone = [pick.file for pick in picks if pick.file not in lines]
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise UserError(
            f"{path}: the line for the image {gone[0]}{more} is missing. Add each missing line again. The label in "
            "the line may be empty."
        )
    for pick in picks:
        label, line = lines[pick.file]
        if pick.free is not None and label not in (None, pick.free):
            given = classes.names[pick.free]
            raise UserError(
                f"{path}, line {line}: the label of {pick.file} was changed, but the model has labelled this image as "
                f"{given!r}, and such labels cannot be changed. Restore the label {given!r}."
            )
    return [lines[pick.file].label if pick.free is None else pick.free for pick in picks]


def _not_asked(cell: str) -> str:
    return f"the image {cell!r} was not selected in this round. Remove the line."


class Asked(NamedTuple):
    """The labels that a run asked for when it ended.

    round: the number of its round.
    file: the CSV with a column for labels.
    missing: labels that it still lacks; 0 also if the file cannot be read, which the run itself reports.
    of: labels that it asks for.
    """

    round: int
    file: Path
    missing: int
    of: int

    @property
    def text(self) -> str:
        """The same as a sentence."""
        if self.missing:
            are = "is" if self.missing == 1 else "are"
            return f"{self.missing} of {self.of} labels of round {self.round} {are} missing in {self.file}"
        return f"round {self.round} waited for labels, and all labels are now in {self.file}"


def asked(folder: Path) -> Asked | None:
    """What the run in a folder waits for, or waited for when it ended; None if it did not end waiting."""
    note = read_json(folder / FOLDER / WAITING)
    if note is None:
        return None
    file = folder / FOLDER / Path(one_line(str(note.get("file")))).name
    number, of = (value if type(value) is int else 0 for value in (note.get("round"), note.get("of")))
    try:
        missing = sum(not cells["label"].strip() for _, cells in read_table(file, ("label",)))
    except (OSError, ValueError):  # UserError is a ValueError
        missing = 0
    return Asked(number, file, missing, of)
