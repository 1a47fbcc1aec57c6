"""What the steps of a training reported, as a table in its folder: steps.csv. Each step is in it once.

Rows are appended in the form in which they are read; a line that a killed writer cut off is no row. A run that resumes
from an epoch drops the rows after it first.
"""

import csv
import hashlib
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.io.safe_open import PathLike, Refused, read_bytes
from modprompt.io.tables import shielded, unshielded
from modprompt.io.text import one_line, write_whole

FILE_NAME = "steps.csv"
KEY = "steps_hash"  # of the file's hash in result.json
_EPOCH, _STEP, _RATE = "epoch", "step", "lr"
_WHOLE, _NUMBER = re.compile(r"[1-9]\d{0,17}"), re.compile(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|inf)", re.ASCII)
_TO_DO = "delete it, nothing else needs it"


class Row(NamedTuple):
    """What a step reported.

    Attributes:
        epoch: from 1.
        step: from 1, of all steps of the training.
        said: numbers by name; NaN for none.
        rate: the learning rate.
    """

    epoch: int
    step: int
    said: Mapping[str, float]
    rate: float


def path_of(run_folder: PathLike) -> str:
    """Where a run's table is."""
    return os.path.join(str(run_folder), FILE_NAME)


def read(run_folder: PathLike, result: Mapping[str, object] | None = None) -> dict[str, list[float]] | None:
    """The columns of a run's table by name: epoch, step, what steps reported (loss, acc if there), lr.

    Args:
        run_folder: the run's output folder.
        result: what its result.json holds, if the table is to be compared with it.

    Returns:
        Columns of one length; a cell without a number is NaN. None if there is no table.

    Raises:
        UserError: if it is damaged.
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
        return _columns(content)
    except (Refused, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({one_line(str(error))[:160]}): {_TO_DO}") from None


def _columns(content: bytes) -> dict[str, list[float]]:
    """Raises Refused, or what the reader of CSV files raises, if this is no such table."""
    text = content[: content.rfind(b"\n") + 1].decode("utf-8")  # what is cut off is no row
    names, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[_EPOCH, _STEP, _RATE]]
    if len(set(names)) < len(names) or names[:2] != [_EPOCH, _STEP] or names[-1] != _RATE:
        raise Refused("its first line does not name the columns")
    values = [_values(cells, len(names), number) for number, cells in enumerate(rows, 2)]
    for number, (before, row) in enumerate(zip(values, values[1:]), 3):
        if row[1] != before[1] + 1 or row[0] not in (before[0], before[0] + 1):
            raise Refused(f"line {number}: its step does not follow the one before")
    return {unshielded(name): [row[at] for row in values] for at, name in enumerate(names)}


def _values(cells: Sequence[str], width: int, number: int) -> list[float]:
    fits = len(cells) == width and all(map(_WHOLE.fullmatch, cells[:2])) and all(map(_is_number, cells[2:]))
    if not fits:
        raise Refused(f"line {number}: it is no row of numbers")
    return [float(cell) if cell else math.nan for cell in cells]


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.fullmatch(cell) is not None


class Table:
    """Writes the rows of a training into its folder, many at a time; `begin` makes one.

    Args:
        run_folder: the run's output folder.
        names: of the columns that exist.
    """

    def __init__(self, run_folder: PathLike, names: Sequence[str] = ()):
        self._path, self._folder, self._names = path_of(run_folder), run_folder, list(names)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Remember a row until the next `write`."""
        self._rows.append(row)

    def write(self) -> None:
        """Append what was added to the rows that are there.

        Raises:
            OSError: if it cannot be written.
            UserError: if a step reports something for the first time, and the table is damaged.
        """
        lines, self._rows = [_cells(row) for row in self._rows], []
        names = list(dict.fromkeys([*self._names, *(name for cells in lines for name in cells)]))
        if not lines:
            return
        if names != self._names:
            names = [*(name for name in names if name != _RATE), _RATE]
            earlier = read(self._folder) if self._names else None
            write_whole(self._path, _text([_head(names), *_as_lines(earlier, names)]))
            self._names = names
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            file.write(_text([cells.get(name, "") for name in names] for cells in lines))


def _cells(row: Row) -> dict[str, str]:
    """The cells of a row by the names of their columns; what a step names like a column gets another name."""
    ours = (_EPOCH, _STEP, _RATE)
    said = {one_line(f"{name}_said" if name in ours else name): _cell(value) for name, value in row.said.items()}
    return {_EPOCH: str(row.epoch), _STEP: str(row.step), **said, _RATE: _cell(row.rate)}


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _head(names: Iterable[str]) -> list[str]:
    return [shielded(name) for name in names]


def _text(lines: Iterable[Sequence[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()


def _as_lines(columns: Mapping[str, Sequence[float]] | None, names: Sequence[str]) -> list[list[str]]:
    """The rows of columns that were read, as cells under these names."""
    if not columns:
        return []
    return [
        [_again(name, columns[name][at]) if name in columns else "" for name in names]
        for at in range(len(columns[_STEP]))
    ]


def _again(name: str, value: float) -> str:
    return str(int(value)) if name in (_EPOCH, _STEP) else _cell(value)


def begin(run_folder: PathLike, epochs: int, source: PathLike = "") -> tuple[Table, str]:
    """Make a run's table hold the steps of so many epochs, and no others.

    Args:
        run_folder: the run's output folder.
        epochs: how many are done; with none the table begins anew.
        source: the folder of the run that is resumed; by default the same.

    Returns:
        What writes the rest, and a message on what is not in it ("" if nothing is missing).
    """
    kept, why = _kept(source or run_folder) if epochs else (None, "")
    names = list(kept or ())
    lines = [line for line in _as_lines(kept, names) if int(line[0]) <= epochs]
    if epochs and not why and (not lines or int(lines[-1][0]) < epochs):
        why = f"{FILE_NAME} ends before"
    note = f"The steps of the first {epochs} epochs are not all in {FILE_NAME}: {why}" if why else ""
    if lines:
        write_whole(path_of(run_folder), _text([_head(names), *lines]))
    elif os.path.lexists(path_of(run_folder)):
        os.remove(path_of(run_folder))
    return Table(run_folder, names if lines else ()), note


def _kept(run_folder: PathLike) -> tuple[dict[str, list[float]] | None, str]:
    """The columns of a run's table, or None and why there are none."""
    try:
        columns = read(run_folder)
    except UserError as error:
        return None, str(error)
    return columns, "" if columns is not None else f"{path_of(run_folder)} is not there"
