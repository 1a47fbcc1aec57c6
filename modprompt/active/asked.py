"""Whether a run waits for somebody to label images, and how many labels its CSV file still lacks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from modprompt.data.rounds import FOLDER, WAITING
from modprompt.io.records import read_json
from modprompt.io.tables import read_table
from modprompt.io.text import one_line

COLUMN = "label"


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
            return f"round {self.round} lacks {self.missing} of {self.of} labels: fill in {self.file}"
        return f"round {self.round} waited for labels; none is missing now in {self.file}"


def asked(folder: Path) -> Asked | None:
    """What the run in a folder waits for, or waited for when it ended; None if it did not end waiting."""
    note = read_json(folder / FOLDER / WAITING)
    if note is None:
        return None
    file = folder / FOLDER / Path(one_line(str(note.get("file")))).name
    number, of = (value if type(value) is int else 0 for value in (note.get("round"), note.get("of")))
    try:
        missing = sum(not cells[COLUMN].strip() for _, cells in read_table(file, (COLUMN,)))
    except (OSError, ValueError):  # UserError is a ValueError
        missing = 0
    return Asked(number, file, missing, of)
