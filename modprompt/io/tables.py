"""Tables for people: CSV files that may go through a spreadsheet on their way back.

Written are UTF-8, commas, one line per row. A spreadsheet runs a cell that begins with = + - or @, so such a text gets
a leading apostrophe; reading accepts both forms. Read are commas, semicolons or tabs, UTF-8 and UTF-16, columns and
lines in any order.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.io.safe_open import PathLike, read_bytes
from modprompt.io.text import write_whole

SEPARATORS = (",", ";", "\t")
_MOST_BYTES = 1 << 28
# where a cell begins, also for a spreadsheet that splits at semicolons or tabs; full-width signs run in some too
_BEGINS = r"(^|[;\t\r\n])"
_RUNS = r"(?=[ ']*[=+\-@\uff1d\uff0b\uff0d\uff20])"
_QUOTED = re.compile(r'[,;"\t\r\n]|^\s|\s$')


class TableLine(NamedTuple):
    """A line of a table: its number in the file, from 1, and the wanted cells as they are, by column."""

    number: int
    cells: dict[str, str]


def shielded(text: str) -> str:
    """A text as a cell that no spreadsheet runs."""
    return re.sub(_BEGINS + _RUNS, r"\1'", text)


def unshielded(cell: str) -> str:
    """The text of a cell that `shielded` made."""
    return re.sub(_BEGINS + "'" + _RUNS, r"\1", cell)


def readings(cell: str) -> list[str]:
    """What a cell may mean, likeliest first: some spreadsheets remove an apostrophe, some people add spaces."""
    bare = cell.strip()
    return list(dict.fromkeys([unshielded(cell), cell, unshielded(bare), bare, f"'{bare}"]))


def write_table(path: PathLike, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table whole; cells are written as they are given.

    Raises:
        UserError: if a text cannot be written as UTF-8.
    """
    text = "".join(",".join(map(_quoted, row)) + "\n" for row in (columns, *rows))
    if not text.isascii():
        text = "\ufeff" + text  # without it some spreadsheets mistake UTF-8 for something else
    try:
        write_whole(path, text)
    except UnicodeEncodeError as error:
        line = text[: error.end].rpartition("\n")[2]
        raise UserError(f"{path} is not written: a name in it is not UTF-8 text ({line[-80:]!r}): rename it") from None


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def read_table(path: PathLike, needed: Sequence[str]) -> list[TableLine]:
    """The lines of a table that are not blank.

    Args:
        path: the file.
        needed: the columns whose cells are wanted; others may be there. A cell that is cut off is empty.

    Raises:
        FileNotFoundError: if there is no file.
        UserError: if it is not text, or not a table with these columns.
    """
    text, lines = _text_of(path), []
    separator = max(SEPARATORS, key=lambda one: len(set(needed) & set(_head(text, one))))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        head = _names(next(reader, []))
        _require(head, needed, path)
        for cells in reader:
            if not "".join(cells).strip():
                continue
            if len(cells) > len(head):
                raise UserError(
                    f"{path}, line {reader.line_num}: it has {len(cells)} cells for {len(head)} columns: put quotation "
                    "marks around a text with the separator in it"
                )
            there = dict(zip(head, cells))
            lines.append(TableLine(reader.line_num, {name: there.get(name, "") for name in needed}))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: its quotation marks do not match ({error})") from None
    return lines


def _text_of(path: PathLike) -> str:
    raw = read_bytes(path, _MOST_BYTES)
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # what spreadsheets call Unicode text
    how = 'save it as CSV with the encoding UTF-8 (spreadsheets have it under "Save as")'
    try:
        text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: it is not UTF-8 text: {how}") from None
    if "\0" in text:
        raise UserError(f"{path}, line {text.count(chr(10), 0, text.index(chr(0))) + 1}: it is no text: {how}")
    return text


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _head(text: str, separator: str) -> list[str]:
    """The names of the columns if they are separated by this; only the first line is read."""
    try:
        return _names(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), []))
    except csv.Error:
        return []


def _require(head: Sequence[str], needed: Sequence[str], path: PathLike) -> None:
    for name in needed:
        if head.count(name) == 0:
            there = ", ".join(head)[:200] or "nothing"
            raise UserError(f"{path}, line 1: the column {name!r} is missing (there is {there}): put it back")
        if head.count(name) > 1:
            raise UserError(f"{path}, line 1: the column {name!r} is there {head.count(name)} times: keep one")
