"""round_3.html, the picks of a round as pictures: one page that needs nothing beside it, offline and on a phone.

Where scripts run, each picture has a field for its label, and a button saves the file that comes back (see
picks_file.py). Without them it is a contact sheet. The page may load nothing and run only its own script.
"""

import base64
import hashlib
import io
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import List, NamedTuple, Sequence

from PIL import Image, ImageOps

from modprompt.active.picks_file import COLUMNS, Row, cells_of
from modprompt.active.sheet_parts import SCRIPT, STYLE
from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.storage.opening import open_regular
from modprompt.storage.text import write_whole

_SIDE = 160  # pixels of a thumbnail's longer side, at most
_SMALL = 64  # an image whose longer side has fewer pixels is shown enlarged, its pixels as squares
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


def write(path: Path, rows: Sequence[Row], image_root: str, title: str, names: Sequence[str]) -> None:
    """Write the page, whole. An image that cannot be decoded has a box that says so.

    Args:
        path: of the page; the file that its button saves is called as it is, with the ending .csv.
        rows: the picks.
        image_root: the folder that their files are below.
        title: of the page.
        names: class names by label, proposed where a label is entered.
    """
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        pictures = list(pool.map(lambda row: _thumbnail(os.path.join(image_root, row.file)), rows))
    write_whole(path, _page(rows, pictures, title, distinct(list(names)), path.with_suffix(".csv").name))


def _thumbnail(path: str) -> _Thumbnail:
    """An image as it is seen when it is trained on, small; turned as its camera was."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            if image.format == "EPS":  # a program, which Pillow has Ghostscript run
                return _Thumbnail(b"", fault="it is PostScript")
            small = max(image.size) < _SMALL
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            picture = ImageOps.exif_transpose(image).convert("RGB")
            picture.thumbnail((_SIDE, _SIDE))
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=95 if small else _QUALITY, subsampling=0 if small else 2)
    except (UserError, FileNotFoundError) as error:
        return _Thumbnail(b"", fault=str(error))
    except Exception as error:  # decoders raise all kinds
        return _Thumbnail(b"", fault=" ".join(str(error).split())[:120] or type(error).__name__)
    return _Thumbnail(content.getvalue(), small)


def _hash(text: str) -> str:
    """What a policy of content calls a style or a script by."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"


def _text(text: str) -> str:
    """A text for the page, also one that is no UTF-8."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _page(rows: Sequence[Row], pictures: Sequence[_Thumbnail], title: str, names: List[str], csv_name: str) -> str:
    policy = f"default-src 'none'; img-src data:; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
    policy += "base-uri 'none'; form-action 'none'"
    options = "".join(f'<option value="{_text(name)}">' for name in names)
    cards = "".join(_card(row, picture) for row, picture in zip(rows, pictures))
    asked = sum(not row.label for row in rows)
    free = f"; {len(rows) - asked} have a free label and are not asked for" if asked < len(rows) else ""
    data = f'data-file="{_text(csv_name)}" data-columns="{escape(json.dumps(COLUMNS))}"'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body {data}><h1>{_text(title)}</h1>"
        f'<p class="about">{asked} to label{free}. Labels belong into the column <code>label</code> of '
        f"<code>{_text(csv_name)}</code><span hidden>: enter them here, save that file, and put it in the "
        "place of the one that is beside this page</span>.</p>"
        f'<datalist id="classes">{options}</datalist><main>{cards}</main>'
        '<footer hidden><span id="count" role="status"></span>'
        f'<button id="save" type="button">Save {_text(csv_name)}</button></footer>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _card(row: Row, picture: _Thumbnail) -> str:
    cells = escape(json.dumps(cells_of(row)))
    return (
        f'<article class="{"free" if row.label else "asked"}" data-cells="{cells}">{_picture(row, picture)}'
        f'<p class="file"><b>{row.rank}</b> {_text(row.file)}</p>{_facts(row)}{_field(row)}</article>'
    )


def _picture(row: Row, picture: _Thumbnail) -> str:
    if picture.fault:
        return f'<div class="picture fault">cannot be decoded: {_text(picture.fault)}</div>'
    kind = ' class="small"' if picture.small else ""
    data = base64.b64encode(picture.jpeg).decode("ascii")
    return f'<div class="picture"><img{kind} alt="{_text(row.file)}" src="data:image/jpeg;base64,{data}"></div>'


def _facts(row: Row) -> str:
    """What the model sees in an image, and why it was chosen."""
    sure = "" if row.probability is None else f" {row.probability:.0%}"
    seen = f'<p>seen as <b class="class">{_text(row.predicted_class)}</b>{sure}</p>' if row.predicted_class else ""
    score = f"score {row.score:.4g}" if row.score is not None else ""
    why = "; ".join(text for text in (_text(row.reason), score) if text)
    return seen + (f'<p class="why">{why}</p>' if why else "")


def _field(row: Row) -> str:
    if row.label:
        return f'<p class="given">free label: <b>{_text(row.label)}</b></p>'
    take = '<button type="button" class="take">as seen</button>' if row.predicted_class else ""
    about = f'aria-label="label of {_text(row.file)}" placeholder="label" autocomplete="off" spellcheck="false"'
    return f'<p class="field" hidden><input list="classes" {about}>{take}</p>'
