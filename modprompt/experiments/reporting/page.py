"""A report as one HTML page that needs nothing beside it, loads nothing, runs only its sorting of tables, and is
readable on a phone."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from modprompt.experiments.reporting import cost
from modprompt.experiments.reporting.figures import Figure
from modprompt.experiments.reporting.mistakes import Mistake
from modprompt.experiments.reporting.origins import COLUMNS, Origin
from modprompt.experiments.reporting.page_look import SORTING, STYLE
from modprompt.experiments.reporting.render import cell_text
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.storage.pages import html_text, policy

_NARROW = 5  # columns of a table that takes no more than half of a desktop
_MOST_PIXELS = 960  # across a figure that can be read on a phone as a whole


class More(NamedTuple):
    """What a page shows beside tables and figures.

    mine: labels of the method that the report is about, whose rows are marked.
    origins: by section, rows of the texts of `origins.COLUMNS`.
    mistakes: by data set, the method that they are of, and the gallery.
    attention: by data set, pictures with what they are of.
    cost: rows of texts, the names of columns first.
    """

    mine: Sequence[str] = ()
    origins: Mapping[str, Sequence[Origin]] = {}
    mistakes: Mapping[str, tuple[str, Sequence[Mistake]]] = {}
    attention: Mapping[str, Sequence[Mistake]] = {}
    cost: Sequence[Sequence[str]] = ()


NOTHING_MORE = More()


def _cell(cell: Cell | None, best: bool) -> str:
    text = html_text(cell_text(cell, "±"))
    if cell is not None and cell.std is not None:
        mean, _, rest = text.partition(" ")
        text = f'{mean} <span class="std">{rest}</span>'
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"


def _table(section: Section, mine: Sequence[str] = ()) -> str:
    best = section.best()
    head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in ("method", *section.columns))
    rows = []
    headings = section.headings()
    for number, row in enumerate(section.rows):
        if number in headings:
            heading = f'<th scope="rowgroup" colspan="{len(section.columns) + 1}">{html_text(headings[number])}</th>'
            rows.append(f'<tr class="group">{heading}</tr>')
        cells = "".join(_cell(cell, (number, column) in best) for column, cell in enumerate(row.cells))
        kind = ' class="mine"' if row.label in mine else ""
        kind = f' class="published" title="{html_text(row.source)}"' if row.source else kind
        rows.append(f"<tr{kind}><td>{html_text(row.name)}</td>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _details(section: Section, mine: Sequence[str]) -> str:
    return "".join(f"<h3>{html_text(one.title)}</h3>{_about(one)}{_table(one, mine)}" for one in section.details)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{html_text(title)}</summary>{content}</details>" if content else ""


def _of_texts(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html_text(text)}</td>' for text in row)}</tr>" for row in rows)
    table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>' if rows else ""


def _origins(rows: Sequence[Origin]) -> str:
    return _of_texts(COLUMNS, [row.texts for row in rows], ' class="texts"')


def _cost(rows: Sequence[Sequence[str]], place: str) -> str:
    if not rows:
        return ""
    return f'<h2 id="{place}">cost</h2><p class="about">{html_text(cost.ABOUT)}</p>{_of_texts(rows[0], rows[1:])}'


def _gallery(pictures: Sequence[Mistake]) -> str:
    items = []
    for one in pictures:
        text = html_text(one.text)
        picture = f'<img alt="{text}" src="{one.picture}">' if one.picture else '<span class="none">no picture</span>'
        items.append(f"<li>{picture}{text}</li>")
    return f'<ul class="gallery">{"".join(items)}</ul>' if items else ""


def _close(place: str, figures: Sequence[Figure], folder: Path, more: More) -> str:
    """What is seen of a data set's classes and images, folded."""
    label, mistakes = more.mistakes.get(place, ("", ()))
    drawn = "".join(_figure(figure, folder) for figure in figures if figure.place == place)
    return (
        _folded("Classes: accuracy and confusion", f'<div class="figures">{drawn}</div>' if drawn else "")
        + _folded(f"The worst mistakes of {label}", _gallery(mistakes))
        + _folded("Attention over the patches", _gallery(more.attention.get(place, ())))
    )


def _about(section: Section) -> str:
    return f'<p class="about">{html_text(section.about)}</p>' if section.about else ""


def _figure(figure: Figure, folder: Path) -> str:
    content = (folder / figure.name).read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of a PNG
    data, caption = base64.b64encode(content).decode(), html_text(figure.caption)
    is_wide = width > 1.8 * height or width > _MOST_PIXELS
    kind = "scroll wide" if is_wide else "scroll"  # a wide one is scrolled on a phone, not shrunk
    return (
        f'<figure><div class="{kind}"><img alt="{caption}" width="{width // 2}" height="{height // 2}" '
        f'src="data:image/png;base64,{data}"></div><figcaption>{caption}</figcaption></figure>'
    )


def _list(heading: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html_text(line)}</li>" for line in lines)
    return f"<h2>{html_text(heading)}</h2><ul>{items}</ul>" if lines else ""


def _anchor(key: str, number: int) -> str:
    """A place in the page by a section's key, where that can be one."""
    return key if re.fullmatch(r"(?!figures$|cost$|table-)[A-Za-z][A-Za-z0-9_-]*", key) else f"table-{number}"


def body(
    sections: Sequence[Section],
    figures: Sequence[Figure],
    folder: Path,
    title: str,
    about: str,
    notes: dict[str, Sequence[str]],
    more: More = NOTHING_MORE,
    name: str = "",
) -> str:
    """What a report's page holds: the average first, then figures, each data set, lists of what is lacking and sources.

    Args:
        sections: the tables; the average, if there is one, is the last.
        figures: drawn into `folder`.
        folder: where they are.
        title: of the page.
        about: what the numbers are.
        notes: lists by their headings.
        more: what else is shown.
        name: what its places begin with, so that a page can hold several; empty where there is one.
    """
    ordered = [*sections[-1:], *sections[:-1]]
    start = f"{name}-" if name else ""
    places = [start + _anchor(section.key, number) for number, section in enumerate(ordered)]
    links = "".join(f'<a href="#{place}">{html_text(one.key)}</a>' for place, one in zip(places, ordered))
    own = [_close(one.key, figures, folder, more) for one in ordered]
    blocks = [
        f'<h2 id="{place}">{html_text(one.title)}</h2>{_about(one)}{_table(one, more.mine)}'
        + _folded("Where these numbers come from", _origins(more.origins.get(one.key, ())))
        for place, one in zip(places, ordered)
    ]
    details = [_details(one, more.mine) for one in ordered]  # those of the first table stand behind the figures
    keys = [section.key for section in ordered]
    general = [_figure(figure, folder) for figure in figures if not figure.place]
    others = {place: _close(place, figures, folder, more) for place in _elsewhere(figures, more, keys)}
    seen = "".join(own[:1]) + "".join(f"<h3>{html_text(place)}</h3>{one}" for place, one in others.items())
    seen = f"<h2>classes and images</h2>{seen}" if seen else ""
    if general:
        links += f'<a href="#{start}figures">figures</a>'
    if more.cost:
        links += f'<a href="#{start}cost">cost</a>'
    lists = "".join(_list(heading, lines) for heading, lines in notes.items())
    rest = "".join(
        f"<section>{block}{close}{detail}</section>" for block, close, detail in zip(blocks[1:], own[1:], details[1:])
    )
    return (
        f'<h1>{html_text(title)}</h1><p class="about">{html_text(about)}</p><nav>{links}</nav>'
        f"{_first(ordered, ''.join(blocks[:1]), general, f'{start}figures')}{''.join(details[:1])}"
        f"{_cost(more.cost, f'{start}cost')}{seen}"
        f'<div class="grid">{rest}</div>{lists}'
    )


def _first(ordered: Sequence[Section], table: str, figures: Sequence[str], place: str) -> str:
    """The first table and the figures; beside a narrow table the first of them, where there is room."""
    if not figures:
        return table
    beside = 1 if len(ordered[0].columns) <= _NARROW else 0
    heading = f'<h2 id="{place}">figures</h2>'
    top = f'<div class="grid"><section>{table}</section><section>{heading}{figures[0]}</section></div>'
    rest = f'<div class="figures">{"".join(figures[beside:])}</div>'
    return f"{top if beside else table + heading}{rest}"


def _elsewhere(figures: Sequence[Figure], more: More, keys: Sequence[str]) -> list[str]:
    """Data sets that have no table of their own, of which there is something to see."""
    places = [*(figure.place for figure in figures), *more.mistakes, *more.attention]
    return [place for place in dict.fromkeys(places) if place and place not in keys]


def page(
    sections: Sequence[Section],
    figures: Sequence[Figure],
    folder: Path,
    title: str,
    about: str,
    notes: dict[str, Sequence[str]],
    more: More = NOTHING_MORE,
) -> str:
    """The page of one report; see body."""
    return whole(title, body(sections, figures, folder, title, about, notes, more))


def whole(title: str, content: str) -> str:
    """A page around what it holds."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{policy(STYLE, SORTING)}<style>{STYLE}</style></head>"
        f"<body>{content}<script>{SORTING}</script></body></html>\n"
    )


def whole_of_parts(title: str, about: str, parts: Sequence[tuple[str, str]], bodies: Sequence[str]) -> str:
    """One page of several reports.

    Args:
        title: of all.
        about: what they are.
        parts: (name, title) of each, the name as `body` was given it.
        bodies: what each one's page holds.
    """
    links = "".join(f'<a href="#{name}">{html_text(said)}</a>' for name, said in parts)
    sections = "".join(
        f'<section class="part" id="{name}">{content}</section>' for (name, _), content in zip(parts, bodies)
    )
    said = f'<p class="about">{html_text(about)}</p>' if about else ""
    return whole(title, f"<header><h1>{html_text(title)}</h1>{said}<nav>{links}</nav></header>{sections}")
