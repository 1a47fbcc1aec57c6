"""A report as one HTML page that needs no other file, loads and runs nothing: what report.html.j2 is filled with."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.experiments.reporting import cost, origins
from modprompt.experiments.reporting.compare import Comparison
from modprompt.experiments.reporting.recorded import Mistake
from modprompt.experiments.reporting.tables import Section
from modprompt.io import pages

_NARROW = 5  # columns of a table that fits into half of a desktop
_PHONE = 700  # pixels across a figure that a phone shows as a whole; a wider one is scrolled, or nobody could read it
Gallery = tuple[str, Sequence[Mistake]]  # of a method's mistakes


class Picture(NamedTuple):
    """A figure inside the page, with its size there in pixels."""

    caption: str
    address: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether a phone scrolls it."""
        return self.width > _PHONE


class Report(NamedTuple):
    """What the page of one report shows."""

    title: str
    about: str
    finding: str
    sections: Sequence[Section]  # the tables, of which the average, if there is one, is the first
    origins: Mapping[str, Sequence[Sequence[str]]]  # by table, rows of the texts of `origins.COLUMNS`
    pictures: Sequence[Picture]
    mistakes: Mapping[str, Gallery]  # by data set
    compared: Comparison | None
    costs: Sequence[Sequence[str]]  # rows of texts, the names of columns first
    notes: Mapping[str, Sequence[str]]  # lists below the tables, by their headings
    details: Sequence[str]  # headings of notes that the page shows after a click
    mine: Sequence[str]  # labels of the method that the report is about, whose rows are marked
    name: str = ""  # what its places begin with on a page of several; empty where there is one

    def place(self, key: str) -> str:
        """A place in the page: the key, if that can be one."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
            key = f"table-{[section.key for section in self.sections].index(key)}"
        return f"{self.name}-{key}" if self.name else key

    @property
    def is_beside(self) -> bool:
        """Whether the first figure fits next to the first table."""
        return bool(self.pictures) and len(self.sections[0].columns) <= _NARROW


def picture(path: Path, caption: str) -> Picture:
    """A PNG for the page, at half of its pixels."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    return Picture(caption, pages.data_address(content, "png"), width // 2, height // 2)


def page(title: str, reports: Sequence[Report], text: str = "") -> str:
    """The page of one report, or of several with a text on what they are."""
    return pages.page(
        "experiments/reporting/report.html.j2",
        title=title,
        text=text,
        reports=reports,
        cost_about=cost.ABOUT,
        origin_columns=origins.COLUMNS,
    )
