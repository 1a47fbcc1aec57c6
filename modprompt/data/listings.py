"""Annotation files line by line; a wrong line is named by file and number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import Refused, read_text

if TYPE_CHECKING:
    import numpy as np

_MOST_DIGITS = 10
_GET = "Restore the file, or run `modprompt prepare` for the data set."


class Line(NamedTuple):
    """One line of a file, stripped, with its number from 1."""

    text: str
    number: int
    path: Path

    def bad(self, expected: str) -> UserError:
        """Return the error for a line without the form that `expected` describes in a sentence."""
        return UserError(f"{self.path}, line {self.number}: {self.text!r} is not valid. {expected} Correct the line.")


def read_lines(path: Path, how_to_get: str = _GET) -> Iterator[Line]:
    """The lines of an annotation file that are not blank.

    Raises:
        UserError: if the file is missing or not text.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"The annotation file {path} is missing. {how_to_get}") from None
    except OSError as error:
        raise UserError(
            f"The annotation file {path} cannot be read ({error}). Check its permissions and the disk."
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield Line(line.strip(), number, path)


def whole(text: str) -> int:
    """The whole number from 0 up that a text is in plain digits; -1 if it is none, or has more than nine."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else -1


def read_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file, a row of at least one entry, as (N,) of whatever is in it.

    Raises:
        UserError: if the file is missing or damaged, or has no such row.
    """
    from modprompt.io.arrays import read_mat  # late, as it needs NumPy

    try:
        variable = read_mat(path).get(key)
    except FileNotFoundError:
        raise UserError(f"The annotation file {path} is missing. {_GET}") from None
    except Refused as error:
        raise UserError(f"{path} is not a complete MATLAB file ({error}). Download the file again.") from None
    if variable is None or variable.ndim != 2 or min(variable.shape) != 1:
        raise UserError(
            f"{path}: the variable {key!r} must be a MATLAB array with one row or one column. Download the file again."
        )
    return variable.reshape(-1)


def read_classnames(path: Path) -> dict[str, str]:
    """classnames.txt of the ImageNet family: `wnid class name` per line; a repeated wnid keeps its first place.

    Raises:
        UserError: if the file is missing or a line has no class name.
    """
    names: dict[str, str] = {}
    for line in read_lines(path, "Run `modprompt prepare` for the data set to download the file."):
        wnid, _, name = line.text.partition(" ")
        if not name:
            raise line.bad("Each line must contain a WordNet ID (wnid), a space and a class name.")
        names[wnid] = name
    return names
