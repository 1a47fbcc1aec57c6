"""What the steps of a training reported, as a table in its folder: steps.csv. Each step is in it once.

Rows are appended; a line that a killed writer cut off is no row. A run that resumes from an epoch drops the rows after
it first.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import PathLike, read_bytes
from modprompt.io.tables import Cell, as_csv, unshielded, write_table
from modprompt.io.text import one_line

FILE_NAME = "steps.csv"
KEY = "steps_hash"  # of the file's hash in result.json
_EPOCH, _STEP, _RATE = "epoch", "step", "lr"
_TO_DO = "delete it, nothing else needs it"
Columns = dict[str, list[float]]


class Row(NamedTuple):
    """What a step reported."""

    epoch: int  # from 1
    step: int  # from 1, of all steps of the training
    said: Mapping[str, float]  # numbers by name; NaN for none
    rate: float  # the learning rate


def path_of(run_folder: PathLike) -> str:
    """Where a run's table is."""
    return os.path.join(str(run_folder), FILE_NAME)


def read(run_folder: PathLike, result: Mapping[str, object] | None = None) -> Columns | None:
    """The columns of a run's table by name: epoch, step, what steps reported (loss, acc if there), lr.

    They have one length; a cell without a number is NaN. None if there is no table. Raises UserError if it is damaged,
    or not the one of the result, if that is given.
    """
    path = path_of(run_folder)
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    known = (result or {}).get(KEY)
    if known and hashlib.sha256(content).hexdigest() != known:
        raise UserError(f"{path} is damaged, or belongs to another training than its result.json: {_TO_DO}")
    try:
        text = content[: content.rfind(b"\n") + 1].decode("utf-8-sig")  # what is cut off is no row
        names, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[_EPOCH, _STEP, _RATE]]
        rows = [[*map(int, line[:2]), *(float(cell or "nan") for cell in line[2:])] for line in lines]
        if [*names[:2], names[-1]] != [_EPOCH, _STEP, _RATE] or any(len(row) != len(names) for row in rows):
            raise ValueError("its lines do not have the same columns, from epoch and step to lr")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({one_line(str(error))[:160]}): {_TO_DO}") from None
    return {unshielded(name): [row[at] for row in rows] for at, name in enumerate(names)}


class Table:
    """Writes the rows of a training into its folder, many at a time; `begin` makes one. names: the columns there."""

    def __init__(self, run_folder: PathLike, names: Sequence[str] = ()):
        self._folder, self._names, self._rows = run_folder, list(names), list[Row]()

    def add(self, row: Row) -> None:
        """Remember a row until it is written."""
        self._rows.append(row)

    def write(self) -> None:
        """Append what was added to the rows that are there; if that fails (OSError), nothing has changed.

        Raises UserError if a step reports something for the first time, and the table is damaged.
        """
        if not self._rows:
            return
        lines = [_cells(row) for row in self._rows]
        names = list(dict.fromkeys([*self._names, *(name for cells in lines for name in cells)]))
        if names == self._names:
            _append(path_of(self._folder), as_csv([cells.get(name) for name in names] for cells in lines))
        else:
            names = [*(name for name in names if name != _RATE), _RATE]
            lines = [*_lines(read(self._folder) if self._names else None), *lines]
            write_table(path_of(self._folder), names, ([cells.get(name) for name in names] for cells in lines))
        self._names, self._rows = names, []


def _append(path: str, text: str) -> None:
    """Append a text, or leave the file as it was."""
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            rest = memoryview(text.encode("utf-8"))
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


def _cells(row: Row) -> dict[str, Cell]:
    """The cells of a row by the names of their columns; what a step names like a column gets another name."""
    ours = (_EPOCH, _STEP, _RATE)
    said = {one_line(f"{name}_said" if name in ours else name): float(value) for name, value in row.said.items()}
    return _without_nan({_EPOCH: row.epoch, _STEP: row.step, **said, _RATE: float(row.rate)})


def _without_nan(values: Mapping[str, float]) -> dict[str, Cell]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _lines(columns: Columns | None, epochs: float = math.inf) -> list[dict[str, Cell]]:
    """The rows of so many epochs as cells by column, of columns that were read."""
    rows = (dict(zip(columns, row)) for row in zip(*columns.values())) if columns else ()
    return [_without_nan(row) for row in rows if row[_EPOCH] <= epochs]


def begin(run_folder: PathLike, epochs: int, source: PathLike = "") -> tuple[Table, str]:
    """Make a run's table hold the steps of so many epochs, and no others; with none it begins anew.

    They are those of `source`, the folder of the run that is resumed, by default the same. Returns what writes the
    rest, and a message on what is not in it ("" if nothing is missing).
    """
    kept, why, path = None, "", path_of(run_folder)
    try:
        kept = read(source or run_folder) if epochs else None
        if epochs and kept is None:
            why = f"{path_of(source or run_folder)} is not there"
        elif kept is not None and max(kept[_EPOCH], default=0) < epochs:
            why = f"{FILE_NAME} ends before"
    except UserError as error:
        why = str(error)
    lines = _lines(kept, epochs)
    names = list(kept or ()) if lines else []
    if lines:
        write_table(path, names, (cells.values() for cells in lines))
    elif os.path.lexists(path):
        os.remove(path)
    note = f"The steps of the first {epochs} epochs are not all in {FILE_NAME}: {why}" if why else ""
    return Table(run_folder, names), note
