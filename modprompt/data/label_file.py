"""Labels that people fill in: a table with the columns `file` and `label` (labels.csv, round_3.csv).

Only these two columns are read, so that a spreadsheet may sort the lines and change or remove other columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from modprompt.data.class_names import ClassNames
from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.tables import read_table


class Labelled(NamedTuple):
    """A line: its image's label, None if there is none yet; the line's number, from 1."""

    label: int | None
    line: int


def _readings(cell: str) -> list[str]:
    """What a cell may mean, likeliest first: some people add spaces, some spreadsheets remove an apostrophe."""
    return [cell, cell.strip(), f"'{cell.strip()}"]


def read_labels(
    path: Path, files: Mapping[str, str], names: ClassNames, unknown: Callable[[str], str]
) -> dict[str, Labelled]:
    """The lines of a table, by their image.

    Args:
        path: the table.
        files: the images, by what a line may call them.
        names: the classes.
        unknown: the message on a line that names another file: what is wrong, and what to do.

    Raises:
        FileNotFoundError: if there is no file.
        UserError: if it is not such a table, or a line names no image, one twice, or an unknown class; it is named.
    """
    lines: dict[str, Labelled] = {}
    for number, cells in read_table(path, ("file", "label")):
        where, cell, label = f"{path}, line {number}", cells["file"], cells["label"]
        file = next((files[text] for text in _readings(cell) if text in files), None)
        if file is None:
            what = (
                unknown(cell[:200])
                if cell.strip()
                else "The column `file` is empty. Enter the file name, or remove the line."
            )
            raise UserError(f"{where}: {what}")
        if file in lines:
            raise UserError(f"{where} repeats {file} from line {lines[file].line}. Remove one of the two lines.")
        try:
            lines[file] = Labelled(names.find(_readings(label)) if label.strip() else None, number)
        except Refused as error:
            raise UserError(f"{where}: {error}") from None
    return lines
