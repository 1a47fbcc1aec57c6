"""CSV files, which may go through a spreadsheet on their way back: the one writer and the one reader.

A spreadsheet runs a text that begins with = + - or @, so such a text gets a leading apostrophe, which the reader takes
off again; numbers never. Written are UTF-8, commas, one line per row. Read are commas, semicolons or tabs, columns and
lines in any order.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

from modprompt.errors import UserError
from modprompt.io.files import PathLike, open_regular, read_bytes, write_whole
from modprompt.io.text import one_line

Cell = str | int | float | None
_SEPARATORS = ",;\t"
_RUNS = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def _shielded(cell: Cell) -> Cell:
    """A cell that no spreadsheet runs."""
    runs = isinstance(cell, str) and _RUNS.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if runs else cell


def unshielded(cell: str) -> str:
    """The text of a cell that was read."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell) else cell


def as_csv(rows: Iterable[Iterable[Cell]]) -> str:
    """Rows as text: numbers exactly, None as an empty cell."""
    lines: list[str] = []  # with its own ends: with others a writer leaves a lone \\r without quotation marks
    writer = csv.writer(SimpleNamespace(write=lines.append))  # all that it calls
    writer.writerows(map(_shielded, row) for row in rows)
    return "".join(line[:-2] + "\n" for line in lines)


def write_table(path: PathLike, columns: Sequence[str], rows: Iterable[Iterable[Cell]]) -> None:
    """Write a table whole; raises UserError if a text cannot be written as UTF-8."""
    text = as_csv([columns, *rows])
    if not text.isascii():
        text = "\ufeff" + text  # without it some spreadsheets mistake UTF-8 for something else
    try:
        write_whole(path, text)
    except UnicodeEncodeError as error:
        line = text[: error.end].rpartition("\n")[2]
        raise UserError(
            f"Cannot write {path} because a name is not valid UTF-8 text ({line[-80:]!r}). Rename the file or class."
        ) from None


def require_replaceable(path: PathLike, columns: Sequence[str], option: str) -> None:
    """Raise UserError if a table would replace a file that is not such a table.

    Args:
        path: the file to be written.
        columns: those with which each table of the command begins.
        option: the option that names the file, for the message.
    """
    if not os.path.lexists(path):
        return
    first = b""
    if os.path.isfile(path):
        with open_regular(path) as file:
            first = file.readline(1 << 16)
    names = first.decode("utf-8-sig", "replace").strip().split(",")
    if names[: len(columns)] != [*columns]:
        raise UserError(
            f"{option} {path} exists, but does not have the columns of this table ({', '.join(columns)}), so the file "
            "is not overwritten. Use another file name."
        )


def read_table(path: PathLike, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The number of each line that is not blank, and its needed cells ("" if cut off); UserError says which line."""
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: the text is not valid UTF-8. Save the file as CSV with the encoding UTF-8."
        ) from None
    first = "".join(text.splitlines()[:1])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=first.count), strict=True)
    lines = []
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        for name in needed:
            if head.count(name) != 1:
                columns = one_line(", ".join(head))[:200] or "missing"
                raise UserError(
                    f"{path}, line 1: exactly one column {name!r} is needed, but the columns are {columns}."
                )
        for cells in reader:
            if len(cells) > len(head):
                raise UserError(
                    f"{path}, line {reader.line_num}: the row has {len(cells)} cells, but the table has {len(head)} "
                    "columns. Put quotation marks around cells that contain a separator."
                )
            if "".join(cells).strip():
                by_name = dict(zip(head, map(unshielded, cells)))
                lines.append((reader.line_num, {name: by_name.get(name, "") for name in needed}))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: the quotation marks do not match ({error}).") from None
    return lines
