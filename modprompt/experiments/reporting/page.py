"""A report as one HTML page that needs no other file, loads nothing, runs only its sorting of tables, and is
readable on a phone: what report.html.j2 is filled with."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.experiments.reporting import cost
from modprompt.experiments.reporting.comparisons import Comparisons
from modprompt.experiments.reporting.figures.draw import Figure
from modprompt.experiments.reporting.mistakes import Mistake
from modprompt.experiments.reporting.origins import COLUMNS
from modprompt.experiments.reporting.table import Section
from modprompt.io import pages

_NARROW = 5  # columns of a table that fits into half of a desktop
_MOST_PIXELS = 960  # across a figure that can be read on a phone as a whole


class More(NamedTuple):
    """What a page shows besides tables and figures.

    mine: labels of the method that the report is about, whose rows are marked.
    origins: by section, rows of the texts of `origins.COLUMNS`.
    mistakes: by data set, the method that made them, and the gallery.
    attention: by data set, pictures with their texts.
    cost: rows of texts, the names of columns first.
    compared: the differences of a method from the others; None where there are none.
    finding: a sentence on the main result; empty for none.
    """

    mine: Sequence[str] = ()
    origins: Mapping[str, Sequence[Sequence[str]]] = {}
    mistakes: Mapping[str, tuple[str, Sequence[Mistake]]] = {}
    attention: Mapping[str, Sequence[Mistake]] = {}
    cost: Sequence[Sequence[str]] = ()
    compared: Comparisons | None = None
    finding: str = ""


class Picture(NamedTuple):
    """A figure inside the page, with its size there in pixels; a wide one is scrolled on a phone, not shrunk."""

    caption: str
    address: str
    width: int
    height: int
    is_wide: bool


class Close(NamedTuple):
    """A closer look at a data set's classes and images; `method` is the one that made the mistakes."""

    pictures: Sequence[Picture]
    method: str
    mistakes: Sequence[Mistake]
    attention: Sequence[Mistake]


class Table(NamedTuple):
    """A section, its place in the page, and what is below its numbers."""

    section: Section
    place: str
    origins: Sequence[Sequence[str]]
    close: Close | None


class Report(NamedTuple):
    """What the page of one report shows.

    start: what its places begin with, so that a page can hold several reports.
    tables: the average, if there is one, is the first.
    pictures: those of no single data set.
    is_beside: whether the first of them fits next to the first table.
    elsewhere: a closer look at data sets that have no table.
    """

    title: str
    about: str
    start: str
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    is_beside: bool
    elsewhere: Mapping[str, Close]
    more: More
    notes: Mapping[str, Sequence[str]]


def report_of(
    sections: Sequence[Section],
    figures: Sequence[Figure],
    folder: Path,
    title: str,
    about: str,
    notes: Mapping[str, Sequence[str]],
    more: More = More(),  # noqa: B008 - it never changes
    name: str = "",
) -> Report:
    """A report's page as data.

    Args:
        sections: the tables; the average, if there is one, is the last.
        figures: drawn into `folder`.
        folder: where they are.
        title: of the page.
        about: what the numbers are.
        notes: lists by their headings.
        more: what else is shown.
        name: of the report on a page of several; empty where there is one.
    """
    ordered = [*sections[-1:], *sections[:-1]]
    start = f"{name}-" if name else ""
    seen = _seen(figures, folder, more)
    tables = [
        Table(one, start + _anchor(one.key, number), more.origins.get(one.key, ()), seen.pop(one.key, None))
        for number, one in enumerate(ordered)
    ]
    pictures = [_picture(figure, folder) for figure in figures if not figure.place]
    is_beside = bool(pictures) and len(ordered[0].columns) <= _NARROW
    return Report(title, about, start, tables, pictures, is_beside, seen, more, notes)


def _seen(figures: Sequence[Figure], folder: Path, more: More) -> dict[str, Close]:
    """The closer look at each data set, where there is something."""
    places = dict.fromkeys([*(figure.place for figure in figures), *more.mistakes, *more.attention])
    return {
        place: Close(
            [_picture(figure, folder) for figure in figures if figure.place == place],
            *more.mistakes.get(place, ("", ())),
            more.attention.get(place, ()),
        )
        for place in filter(None, places)
    }


def _picture(figure: Figure, folder: Path) -> Picture:
    content = (folder / figure.name).read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of a PNG
    is_wide = width > 1.8 * height or width > _MOST_PIXELS
    return Picture(figure.caption, pages.data_address(content, "png"), width // 2, height // 2, is_wide)


def _anchor(key: str, number: int) -> str:
    """A place in the page: the section's key, if that can be one."""
    return (
        key if re.fullmatch(r"(?!figures$|differences$|cost$|table-)[A-Za-z][A-Za-z0-9_-]*", key) else f"table-{number}"
    )


def page(title: str, reports: Sequence[Report], names: Sequence[str] = (), text: str = "") -> str:
    """The page of one report, or of several.

    Args:
        title: of all.
        reports: what is shown.
        names: of several reports, as `report_of` was given them.
        text: what several reports are.
    """
    return pages.page(
        "experiments/reporting/report.html.j2",
        "experiments/reporting/sorting.js",
        title=title,
        text=text,
        reports=reports,
        names=names,
        cost_about=cost.ABOUT,
        origin_columns=COLUMNS,
    )
