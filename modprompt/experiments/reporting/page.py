"""A report as one HTML page, which loads no other file and runs no program; report.html.j2 is its template."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.reporting.recorded import Mistake
from modprompt.experiments.reporting.tables import Summary, Table, make_table
from modprompt.io import pages

_PHONE = 700  # pixels across a figure that fits on the screen of a phone; wider figures are scrolled
Gallery = tuple[str, Sequence[Mistake]]  # the name of a method and its errors


class Picture(NamedTuple):
    """A figure in the page, with its size in pixels."""

    caption: str
    address: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Return True if a phone scrolls the figure."""
        return self.width > _PHONE


class Report(NamedTuple):
    """The content of the page of one report."""

    title: str
    finding: str  # the sentence that answers the question of the experiment
    about: str  # what the numbers are
    tables: Sequence[Table]  # the table of methods by data sets, then the others
    origins: Mapping[str, pd.DataFrame]  # texts by the data set of a table
    pictures: Sequence[Picture]
    galleries: Mapping[str, Gallery]  # by data set
    differences: Sequence[tuple[str, str, pd.DataFrame]]  # title, caption and texts of each table
    about_differences: tuple[str, str]  # title and caption of all tables of differences
    costs: pd.DataFrame  # texts
    about_costs: str
    notes: Mapping[str, Sequence[str]]  # lists by heading
    folded: Sequence[str]  # headings of the lists that are shown after a click
    highlighted: Sequence[str]  # labels of the methods whose rows are marked
    name: str = ""  # start of the anchors on a page of several reports

    def anchor(self, key: str) -> str:
        """Return the anchor of a table or a section."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
            key = f"table-{[table.place for table in self.tables].index(key)}"
        return f"{self.name}-{key}" if self.name else key


def methods_by_datasets(summary: Summary) -> Table:
    """Return the first table of a page: methods by data sets, with the average first.

    For one data set, and for protocols with such a table, the result is the last table of the report.
    """
    runs, _, tables = summary
    table, tables = tables[-1], [tables[-1], *tables[:-1]]
    if runs.experiment.protocol in CROSS or len(tables) == 1:
        return table
    numbers = {
        name: pd.DataFrame({one.place: one.deciding_numbers(getattr(one, name)) for one in tables})
        for name in ("mean", "std")
    }
    measured = table.rows[table.rows["source"] == ""].to_dict("records")
    rows = [{**row, **{name: [*frame.loc[row["label"]]] for name, frame in numbers.items()}} for row in measured]
    title = f"{table.measure[:1].upper()}{table.measure[1:]} on each data set"
    return make_table(title, "overview", [*(one.place for one in tables)], rows)


def picture(path: Path, caption: str) -> Picture:
    """Return a PNG file as a picture, at half of its size in pixels."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    return Picture(caption, pages.data_address(content, "png"), width // 2, height // 2)


def page(title: str, reports: Sequence[Report], text: str = "") -> str:
    """Return the page of one report, or of several reports with an introduction."""
    return pages.page("experiments/reporting/report.html.j2", title=title, text=text, reports=reports)
