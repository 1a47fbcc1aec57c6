"""round_3.html, the picks of a round as pictures: one page that needs no other file, offline and on a phone.

Where scripts run, each picture has a field for its label, and a button saves the file that comes back (see
picks_file.py). Without them it is a contact sheet. Its look is in sheet.html.j2.
"""

import hashlib
import io
import json
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from modprompt.active.picks_file import COLUMNS, Row, cells_of
from modprompt.data.class_names import distinct
from modprompt.io import pages
from modprompt.io.files import write_whole
from modprompt.io.image_files import FAMILY, as_rgb, opened
from modprompt.programs import one_line

_SIDE = 160  # pixels of a thumbnail's longer side, at most
_SMALL = 64  # an image whose longer side has fewer pixels is shown enlarged


class _Card(NamedTuple):
    """A pick as it is shown on the page.

    row: the pick.
    cells: those of its row in the file, as JSON.
    steps: parts of its file's name, between which a line may break.
    label: what its field begins with.
    address: of its picture; empty if it cannot be decoded.
    is_small: whether the image itself is very small.
    fault: why it cannot be decoded.
    """

    row: Row
    cells: str
    steps: list[str]
    label: str
    address: str = ""
    is_small: bool = False
    fault: str = ""


def write(
    path: Path,
    rows: Sequence[Row],
    image_root: str,
    title: str,
    names: Sequence[str],
    ask: bool = True,
    labels: Sequence[int | None] = (),
    read_as: str = FAMILY,
) -> None:
    """Write the page, whole. In place of an image that cannot be decoded is a box that says so.

    Args:
        path: of the page; the file that its button saves has the same name, with the ending .csv.
        rows: the picks.
        image_root: the folder that their files are below.
        title: of the page.
        names: class names by label, proposed where a label is entered.
        ask: whether labels are asked for; else the page only shows the picks.
        labels: those that are there already, as read_labels gives them; the page's fields begin with them.
        read_as: the rule by which the run reads images, so that people see what the model does.

    Raises:
        UserError: if a package that makes pages is not installed.
    """
    names = distinct(names)
    given = ["" if label is None else names[label] for label in labels] or [""] * len(rows)
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        cards = list(pool.map(partial(_card, Path(image_root), read_as), rows, given))
    text = pages.page(
        "active/sheet.html.j2",
        "active/sheet.js" if ask else "",
        title=title,
        ask=ask,
        asked=sum(not row.label for row in rows),
        cards=cards,
        names=names,
        file=path.with_suffix(".csv").name,
        round=hashlib.sha256(json.dumps([cells_of(row) for row in rows]).encode("ascii")).hexdigest()[:16],
        columns=json.dumps(COLUMNS),
    )
    write_whole(path, text)


def _card(root: Path, read_as: str, row: Row, label: str) -> _Card:
    """A pick with its image as it is seen when it is trained on, small."""
    card, path = _Card(row, json.dumps(cells_of(row)), re.split(r"(?<=[/_-])", row.file), label), root / row.file
    picture = io.BytesIO()
    try:
        with opened(path) as image:
            is_small = max(image.size) < _SMALL
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = as_rgb(image, read_as)
            small.thumbnail((_SIDE, _SIDE))
            quality, subsampling = (95, 0) if is_small else (80, 2)
            small.save(picture, "JPEG", quality=quality, subsampling=subsampling)
    except FileNotFoundError:
        return card._replace(fault="there is no such file")
    except ValueError as error:  # Refused and UserError are
        return card._replace(fault=one_line(error).replace(str(path), "it")[:100])
    return card._replace(address=pages.data_address(picture.getvalue()), is_small=is_small)
