"""Annotation files line by line; what does not fit is named by file and line number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, NamedTuple

from modprompt.errors import UserError
from modprompt.storage.opening import Refused, read_text

if TYPE_CHECKING:
    import numpy as np


class Line(NamedTuple):
    """One line of a file, stripped, with its number from 1."""

    text: str
    number: int
    path: Path

    def bad(self, expected: str) -> UserError:
        """The error to raise when the line is not of the expected form."""
        return UserError(f"{self.path}, line {self.number}: expected {expected}, got {self.text!r}")


def read_lines(path: Path, how_to_get: str = "") -> Iterator[Line]:
    """The lines of an annotation file that are not blank.

    Raises:
        UserError: if the file is missing or no text.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"annotation file missing: {path}" + (f"; {how_to_get}" if how_to_get else "")) from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error})") from None
    text = text[1:] if text.startswith("\ufeff") else text  # which some editors put in front
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield Line(line.strip(), number, path)


def read_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file.

    Raises:
        UserError: if the file is missing, damaged, or has no such variable.
    """
    from modprompt.storage import mat_files  # late, as it needs NumPy

    try:
        variables = mat_files.read_mat(path)
    except FileNotFoundError:
        raise UserError(f"annotation file missing: {path}") from None
    except Refused as error:
        raise UserError(f"{path} is not a whole MATLAB file ({error}): fetch it again") from None
    if key not in variables:
        raise UserError(f"{path} has no variable {key!r}: fetch it again")
    return variables[key]


def read_classnames(path: Path) -> dict[str, str]:
    """classnames.txt of the ImageNet family: `wnid class name` per line; a repeated wnid keeps its first place.

    Raises:
        UserError: if the file is missing or a line has no class name.
    """
    names: dict[str, str] = {}
    for line in read_lines(path, "it comes with the family's data instructions; see python -m modprompt prepare"):
        wnid, _, name = line.text.partition(" ")
        if not name:
            raise line.bad("a wnid, a space and a class name")
        names[wnid] = name
    return names
