"""A report as one HTML page that needs nothing beside it, may load and run nothing, and is readable on a phone."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Sequence

from modprompt.experiments.reporting.figures import Figure
from modprompt.experiments.reporting.render import cell_text
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.storage.pages import html_text, policy

_MOST_PIXELS = 960  # across a figure that can be read on a phone as a whole
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --best: #1f7a3f; }
@media (prefers-color-scheme: dark) { :root { --best: #6fd08c; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 64rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
section { border-top: 2px solid var(--line); margin-top: 2.5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem .9rem; font-size: .9rem; }
nav a { padding: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
thead th { border-bottom: 2px solid var(--line); }
.best { font-weight: 700; color: var(--best); }
.published { font-style: italic; background: var(--soft); }
.std { opacity: .65; font-size: .85em; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
@media (max-width: 34rem) {
  th, td { padding: .3rem .45rem; }
  .std { display: block; }
  .wide img { max-width: none; width: 40rem; }
}
figcaption, .about, li { font-size: .9rem; overflow-wrap: anywhere; }
"""


def _cell(cell: Cell | None, best: bool) -> str:
    text = html_text(cell_text(cell, "±"))
    if cell is not None and cell.std is not None:
        mean, _, rest = text.partition(" ")
        text = f'{mean} <span class="std">{rest}</span>'
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"


def _table(section: Section) -> str:
    best = section.best()
    head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in ("method", *section.columns))
    rows = []
    for number, row in enumerate(section.rows):
        cells = "".join(_cell(cell, (number, column) in best) for column, cell in enumerate(row.cells))
        kind = f' class="published" title="{html_text(row.source)}"' if row.source else ""
        rows.append(f"<tr{kind}><td>{html_text(row.label)}</td>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _details(section: Section) -> str:
    return "".join(f"<h3>{html_text(one.title)}</h3>{_about(one)}{_table(one)}" for one in section.details)


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
    return key if re.fullmatch(r"(?!figures$|table-)[A-Za-z][A-Za-z0-9_-]*", key) else f"table-{number}"


def body(
    sections: Sequence[Section],
    figures: Sequence[Figure],
    folder: Path,
    title: str,
    about: str,
    notes: dict[str, Sequence[str]],
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
        name: what its places begin with, so that a page can hold several; empty where there is one.
    """
    ordered = [*sections[-1:], *sections[:-1]]
    start = f"{name}-" if name else ""
    places = [start + _anchor(section.key, number) for number, section in enumerate(ordered)]
    links = "".join(f'<a href="#{place}">{html_text(one.key)}</a>' for place, one in zip(places, ordered))
    tables = [
        f'<h2 id="{place}">{html_text(one.title)}</h2>{_about(one)}{_table(one)}' for place, one in zip(places, ordered)
    ]
    details = list(map(_details, ordered))  # those of the first table stand behind the figures
    drawn = "".join(_figure(figure, folder) for figure in figures)
    if figures:
        drawn = f'<h2 id="{start}figures">figures</h2>{drawn}'
        links += f'<a href="#{start}figures">figures</a>'
    lists = "".join(_list(heading, lines) for heading, lines in notes.items())
    return (
        f'<h1>{html_text(title)}</h1><p class="about">{html_text(about)}</p><nav>{links}</nav>'
        f"{''.join(tables[:1])}{drawn}{''.join(details[:1])}"
        f"{''.join(table + more for table, more in zip(tables[1:], details[1:]))}{lists}"
    )


def page(
    sections: Sequence[Section],
    figures: Sequence[Figure],
    folder: Path,
    title: str,
    about: str,
    notes: dict[str, Sequence[str]],
) -> str:
    """The page of one report; see body."""
    return whole(title, body(sections, figures, folder, title, about, notes))


def whole(title: str, content: str) -> str:
    """A page around what it holds."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{policy(_STYLE)}<style>{_STYLE}</style></head><body>{content}</body></html>\n"
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
    sections = "".join(f'<section id="{name}">{content}</section>' for (name, _), content in zip(parts, bodies))
    said = f'<p class="about">{html_text(about)}</p>' if about else ""
    return whole(title, f"<header><h1>{html_text(title)}</h1>{said}<nav>{links}</nav></header>{sections}")
