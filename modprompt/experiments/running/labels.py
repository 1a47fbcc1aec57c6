"""Whether a run waits for somebody to label images, and how many labels its CSV file still lacks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from modprompt.runs.result import read_json
from modprompt.runs.rounds import FOLDER, WAITING
from modprompt.storage.opening import read_bytes

COLUMN = "label"
_SEPARATORS = ",;\t"  # what spreadsheets write
_MOST_BYTES = 1 << 28


class Asked(NamedTuple):
    """What a run has asked for when it ended.

    round: the number of its round.
    file: the CSV with a column for labels.
    missing: labels that it lacks now; 0 also where the file cannot be read, of which the run itself says more.
    of: labels that it asks for.
    """

    round: int
    file: Path
    missing: int
    of: int

    @property
    def text(self) -> str:
        """The same in a line."""
        if self.missing:
            return f"round {self.round} lacks {self.missing} of {self.of} labels: fill in {self.file}"
        return f"round {self.round} waited for labels; none is missing now in {self.file}"


def asked(folder: Path) -> Asked | None:
    """What the run in a folder waits for, or waited for when it ended; None if it has not ended so."""
    said = read_json(folder / FOLDER / WAITING)
    if said is None:
        return None
    file = folder / FOLDER / Path(str(said.get("file"))).name
    return Asked(_whole(said.get("round")), file, _missing(file), _whole(said.get("of")))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _missing(file: Path) -> int:
    """How many lines of a CSV have an empty label; 0 if it is gone or has no such column."""
    try:
        text = read_bytes(file, _MOST_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):  # UserError is a ValueError
        return 0
    lines = text.splitlines()
    for separator in _SEPARATORS:
        try:
            head, *rows = csv.reader(lines, delimiter=separator)
        except (csv.Error, ValueError):
            continue
        names = [name.strip().lower() for name in head]
        if COLUMN in names:
            place = names.index(COLUMN)
            return sum(len(row) <= place or not row[place].strip() for row in rows if any(map(str.strip, row)))
    return 0
