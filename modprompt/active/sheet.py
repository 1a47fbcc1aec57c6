"""round_3.html, the picks of a round as pictures: one page that needs nothing beside it, offline and on a phone.

Where scripts run, each picture has a field for its label, and a button saves the file that comes back (see
picks_file.py). Without them it is a contact sheet. The page may load nothing and run only its own script.
"""

import base64
import hashlib
import io
import json
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from modprompt.active.picks_file import COLUMNS, Row, cells_of
from modprompt.active.sheet_parts import SCRIPT, STYLE
from modprompt.data.class_names import distinct
from modprompt.programs import one_line
from modprompt.storage.image_files import opened
from modprompt.storage.image_rules import FAMILY, as_rgb
from modprompt.storage.pages import html_text as _text
from modprompt.storage.pages import policy
from modprompt.storage.text import write_whole

_SIDE = 160  # pixels of a thumbnail's longer side, at most
_SMALL = 64  # an image whose longer side has fewer pixels is shown enlarged
_QUALITY = 80


class _Thumbnail(NamedTuple):
    """A picture as it stands in the page.

    Attributes:
        jpeg: its content; empty if the image cannot be decoded.
        small: whether the image itself is very small.
        fault: why it cannot be decoded.
    """

    jpeg: bytes
    small: bool = False
    fault: str = ""


def write(
    path: Path,
    rows: Sequence[Row],
    image_root: str,
    title: str,
    names: Sequence[str],
    ask: bool = True,
    labels: Sequence[Optional[int]] = (),
    read_as: str = FAMILY,
) -> None:
    """Write the page, whole. An image that cannot be decoded has a box that says so.

    Args:
        path: of the page; the file that its button saves is called as it is, with the ending .csv.
        rows: the picks.
        image_root: the folder that their files are below.
        title: of the page.
        names: class names by label, proposed where a label is entered.
        ask: whether labels are asked for; else the page only shows the picks.
        labels: those that are there already, as read_labels gives them; the page's fields begin with them.
        read_as: the rule by which the run reads images, so that people see what the model does.
    """
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        pictures = list(pool.map(lambda row: _thumbnail(Path(image_root, row.file), read_as), rows))
    known = distinct(list(names))
    given = ["" if label is None else known[label] for label in labels] or [""] * len(rows)
    cards = "".join(_card(row, picture, _field(row, ask, text)) for row, picture, text in zip(rows, pictures, given))
    form = _form(rows, known, path.with_suffix(".csv").name) if ask else _Form("", "", "")
    write_whole(path, _page(title, form, cards))


def _thumbnail(path: Path, read_as: str) -> _Thumbnail:
    """An image as it is seen when it is trained on, small."""
    try:
        with opened(path) as image:
            small = max(image.size) < _SMALL
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            picture = as_rgb(image, read_as)
            picture.thumbnail((_SIDE, _SIDE))
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=95 if small else _QUALITY, subsampling=0 if small else 2)
    except FileNotFoundError:
        return _Thumbnail(b"", fault="there is no such file")
    except ValueError as error:  # Refused and UserError are
        return _Thumbnail(b"", fault=one_line(error).replace(str(path), "it")[:100])
    return _Thumbnail(content.getvalue(), small)


class _Form(NamedTuple):
    """What the page has for the entry of labels: what is said of it, attributes of the body, what stands at its end."""

    about: str
    data: str
    end: str


def _form(rows: Sequence[Row], names: Sequence[str], csv_name: str) -> _Form:
    asked, file = sum(not row.label for row in rows), f"<code>{_text(csv_name)}</code>"
    free = f"; {len(rows) - asked} have a free label and are not asked for" if asked < len(rows) else ""
    about = (
        f'<p class="about">{asked} to label{free}. Labels belong into the column <code>label</code> of {file}'
        "<span hidden>: enter them here (a click on a class enters it), save that file, and put it in the place of the "
        "one beside this page</span>.</p>"
    )
    options = "".join(f'<option value="{_text(name)}">' for name in names)
    end = (
        f'<datalist id="classes">{options}</datalist><footer hidden><span id="count" role="status"></span>'
        f'<button id="save" type="button">Save {_text(csv_name)}</button></footer><script>{SCRIPT}</script>'
    )
    digest = hashlib.sha256(json.dumps([cells_of(row) for row in rows]).encode("ascii")).hexdigest()[:16]
    data = f' data-file="{_text(csv_name)}" data-round="{digest}" data-columns="{escape(json.dumps(COLUMNS))}"'
    return _Form(about, data, end)


def _page(title: str, form: _Form, cards: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f"{policy(STYLE, SCRIPT)}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body{form.data}><h1>{_text(title)}</h1>{form.about}"
        f"<main>{cards}</main>{form.end}</body></html>\n"
    )


def _breakable(path: str) -> str:
    """A path that is broken behind folders and words."""
    return re.sub(r"([/_-])", r"\1<wbr>", _text(path))


def _card(row: Row, picture: _Thumbnail, field: str) -> str:
    cells = escape(json.dumps(cells_of(row)))
    return (
        f'<article class="{"free" if row.label else "asked"}" data-cells="{cells}">{_picture(row, picture)}'
        f'<p class="file"><b>{row.rank}</b> {_breakable(row.file)}</p>{_facts(row, "<input" in field)}{field}</article>'
    )


def _picture(row: Row, picture: _Thumbnail) -> str:
    if picture.fault:
        return f'<div class="picture fault"><span>cannot be shown: {_text(picture.fault)}</span></div>'
    kind = ' class="small"' if picture.small else ""
    data = base64.b64encode(picture.jpeg).decode("ascii")
    return f'<div class="picture"><img{kind} alt="{_text(row.file)}" src="data:image/jpeg;base64,{data}"></div>'


def _facts(row: Row, asked: bool) -> str:
    """What the model sees in an image, and why it was chosen."""
    sure = "seen as" if row.probability is None else f"{row.probability:.0%} sure:"
    name = _text(row.predicted_class)
    if name and asked:
        name = f'<button type="button" class="take" tabindex="-1" title="enter it as the label">{name}</button>'
    score = f"score {row.score:.4g}" if row.score is not None else ""
    why = "; ".join(text for text in (_text(row.reason), score) if text)
    return (f'<p class="seen">{sure} {name}</p>' if name else "") + (f'<p class="why">{why}</p>' if why else "")


def _field(row: Row, ask: bool, given: str) -> str:
    """Where an image's label is entered; a label that it was given for nothing stands there as it is."""
    if row.label:
        return f'<p class="given">free label: <b>{_text(row.label)}</b></p>'
    if not ask:
        return ""
    about = f'aria-label="label of {_text(row.file)}" placeholder="label" autocomplete="off" spellcheck="false"'
    return f'<p class="field" hidden><input list="classes" value="{_text(given)}" {about}></p>'
