"""round_3.csv, the picks of a round for those who label: written with an empty column `label`, read back when filled.

A line is known by its file; of what comes back the columns `file` and `label` are read, so that lines may be sorted
and other columns changed or taken away.
"""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from modprompt.data.class_names import ClassNames
from modprompt.errors import UserError
from modprompt.storage.opening import Refused
from modprompt.storage.tables import TableLine, read_table, readings, shielded, write_table

COLUMNS = ("rank", "file", "predicted_class", "probability", "score", "reason", "label")


class Row(NamedTuple):
    """A pick.

    Attributes:
        rank: its place in the order of picking, from 1.
        file: its path below the image root, with forward slashes.
        predicted_class: name of the class that the model sees in it; empty if none was asked.
        probability: the model's, of that class.
        score: what it was chosen by.
        reason: why it was chosen, in a few words.
        label: the name of its class where the model gave it for nothing, which nobody is asked for; else empty.
    """

    rank: int
    file: str
    predicted_class: str
    probability: Optional[float]
    score: Optional[float]
    reason: str
    label: str = ""


def cells_of(row: Row) -> Tuple[str, ...]:
    """A pick as the cells of its line, in the order of COLUMNS."""
    probability = "" if row.probability is None else f"{row.probability:.4f}"
    score = "" if row.score is None else f"{row.score + 0.0:.6g}"  # no -0
    file, predicted, reason, label = map(shielded, (row.file, row.predicted_class, row.reason, row.label))
    return str(row.rank), file, predicted, probability, score, reason, label


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the picks of a round, whole.

    Raises:
        UserError: if a file's name cannot be written as text.
    """
    write_table(path, COLUMNS, map(cells_of, rows))


def read_labels(path: Path, rows: Sequence[Row], names: Sequence[str]) -> List[Optional[int]]:
    """The labels that were filled in.

    Args:
        path: the file.
        rows: the picks that it was written of.
        names: class names by label.

    Returns:
        A label for each of `rows`, None where there is none yet. A label given for nothing is kept.

    Raises:
        UserError: if the file is not there or no such table, a line is of a file that was not asked for or has come
            already, a line is gone, or a class is not known.
    """
    try:
        lines = read_table(path, ("file", "label"))
    except FileNotFoundError:
        raise UserError(f"{path} is gone: put it back with its labels filled in") from None
    known, asked = ClassNames(names), {row.file: row for row in rows}
    labels: Dict[str, Optional[int]] = {}
    came_in: Dict[str, int] = {}
    for line in lines:
        where = f"{path}, line {line.number}"
        row = _row_of(line, asked, where)
        if row.file in came_in:
            raise UserError(f"{where}: {row.file} is in line {came_in[row.file]} already: leave one of the two")
        came_in[row.file] = line.number
        labels[row.file] = _label_of(line, row, known, where)
    gone = [row.file for row in rows if row.file not in labels]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise UserError(f"{path}: the line of {gone[0]}{more} is gone: put it back, with or without a label")
    return [labels[row.file] for row in rows]


def _row_of(line: TableLine, asked: Dict[str, Row], where: str) -> Row:
    cell = line.cells["file"]
    for file in readings(cell):
        if file in asked:
            return asked[file]
    if not cell.strip():
        raise UserError(f"{where}: it names no file: put it back, or remove the line")
    raise UserError(f"{where}: {cell[:200]!r} was not asked for in this round: remove the line")


def _label_of(line: TableLine, row: Row, known: ClassNames, where: str) -> Optional[int]:
    cell, own = line.cells["label"], known.find([row.label]) if row.label else None
    if not cell.strip():
        return own
    try:
        label = known.find(readings(cell))
    except Refused as error:
        raise UserError(f"{where}: {error}") from None
    if own not in (None, label):
        raise UserError(f"{where}: {row.file} was labelled {row.label!r} for nothing, and is not asked for: leave that")
    return label
