"""Labels for what a round has chosen: those that the data set knows, or those that somebody fills into its file.

The file is round_3.csv; round_3.html shows the images, and fills the file in where scripts run. It needs no other file.
A run that lacks labels stops, and goes on when they are there.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from modprompt.active import picks_file, record
from modprompt.active.picks_file import COLUMNS, Picked, cells_of
from modprompt.active.pool import Pool
from modprompt.active.record import Round
from modprompt.data.class_names import distinct
from modprompt.data.images import UNKNOWN
from modprompt.data.rounds import WAITING, round_name
from modprompt.errors import UserError, WaitsForLabels
from modprompt.io import pages
from modprompt.io.files import write_json, write_whole
from modprompt.io.image_files import FAMILY, as_rgb, opened
from modprompt.programs import one_line

_SIDE = 160  # pixels of a picture's longer side, at most
_MOST_BUTTONS = 10  # with more classes an image has a search field in place of a button for each class
_SMALL = 64  # an image whose longer side has fewer pixels is shown enlarged


def file_of(folder: Path, number: int) -> Path:
    """The file of a round's picks."""
    return folder / f"{round_name(number)}.csv"


def differing(output_dir: str | Path, result: Mapping[str, Any]) -> list[str]:
    """Which rounds of a finished run have other labels in their file than it was trained with, or no record any more.

    Args:
        output_dir: of the run.
        result: its result; without rounds nothing differs.
    """
    rounds, names = (result.get("active") or {}).get("rounds"), (result.get("class_names") or {}).get("names")
    if not rounds or not names:
        return []
    folder, faults = record.folder_of(output_dir), []
    for number in range(len(rounds)):
        try:
            one = record.read(folder, number)
            if one is None:
                faults.append(f"the record of round {number} is missing")
            elif picks_file.read_labels(file_of(folder, number), one.picks, names) != one.labels:
                faults.append(f"the labels of round {number} were changed")
        except UserError as error:
            faults.append(str(error))
    return faults


class Labelling:
    """Gives labels to picks.

    Args:
        folder: where rounds are kept.
        pool: the images.
        ask: whether labels are asked for even where the data set knows them.
        read_as: the rule by which the run decodes images (INPUT.DECODING).
    """

    def __init__(self, folder: Path, pool: Pool, ask: bool, read_as: str = FAMILY) -> None:
        self.folder, self.pool, self.read_as = folder, pool, read_as
        self.asks = ask or any(pool.truth(place) == UNKNOWN for place in pool.unlabelled)

    def put_aside(self, one: Round) -> None:
        """For a round without a record: a file of its name that has labels of other images is renamed."""
        path = file_of(self.folder, one.number)
        if not path.is_file():
            return
        try:
            self._read(one)
        except UserError as error:
            names = (path.with_name(f"{path.stem}.aside{number}.csv") for number in itertools.count(1))
            kept = next(name for name in names if not name.exists())
            path.rename(kept)
            said = str(error).rstrip(".")
            print(
                f"note: {path} belongs to another selection of images ({said}). The file was renamed to {kept.name}, "
                "and a new file is written."
            )

    def show(self, one: Round) -> None:
        """Write the files of a round, with the labels known so far; what people wrote stays."""
        path = file_of(self.folder, one.number)
        if not path.is_file() or (None not in one.labels and None in self._read(one)):
            self._write_page(one, one.labels)  # first: labels in the file mean a finished page
            picks_file.write(path, one.picks, self.pool.names)
        elif not path.with_suffix(".html").is_file():
            self._write_page(one, self._read(one))

    def _write_page(self, one: Round, labels: Sequence[int | None]) -> None:
        picks = [pick._replace(label=label) for pick, label in zip(one.picks, labels)]
        path = file_of(self.folder, one.number).with_suffix(".html")
        title = f"Round {one.number}: {len(picks)} image{'' if len(picks) == 1 else 's'}"
        write_page(path, picks, self.pool.root, title, self.pool.names, self.read_as)

    def _read(self, one: Round) -> list[int | None]:
        return picks_file.read_labels(file_of(self.folder, one.number), one.picks, self.pool.names)

    def labelled(self, one: Round) -> Round:
        """The round with a label for every pick.

        Raises:
            WaitsForLabels: if some are missing; what is missing is noted next to the file.
            UserError: if the file is wrong, or has labels that nobody asks for any more.
        """
        labels, path = self._read(one), file_of(self.folder, one.number)
        if not self.asks:
            truths = [
                self.pool.truth(self.pool.place(pick.file)) if pick.free is None else pick.free for pick in one.picks
            ]
            if any(label not in (None, truth) for label, truth in zip(labels, truths)):
                raise UserError(
                    f"The column `label` of {path} contains labels that differ from the labels of the data set. To "
                    "use the labels in the file, set ACTIVE.MANUAL_LABELS to True. To use the labels of the data "
                    "set, empty the column `label`."
                )
            labels = [*truths]
        missing = labels.count(None)
        if missing:
            facts = {"round": one.number, "file": path.name, "missing": missing, "of": len(labels)}
            write_json(self.folder / WAITING, facts)
            self._write_page(one, labels)  # with those that are filled in by now
            raise WaitsForLabels(
                f"{missing} of {len(labels)} labels of round {one.number} {'is' if missing == 1 else 'are'} missing. "
                f"Write class names into the column `label` of {path} (the page {path.with_suffix('.html').name} shows "
                "the images), then run the same command again."
            )
        (self.folder / WAITING).unlink(missing_ok=True)
        return one._replace(picks=tuple(pick._replace(label=label) for pick, label in zip(one.picks, labels)))

    def require_unchanged(self, one: Round) -> None:
        """Raise UserError if the file of a round has other labels than its record."""
        path = file_of(self.folder, one.number)
        labels = zip(one.picks, self._read(one)) if path.is_file() else ()
        other = [pick.file for pick, label in labels if label not in (None, pick.label)]
        if other:
            raise UserError(
                f"The labels in {path} differ from the labels that round {one.number} was trained with "
                f"(e.g. for {other[0]}). Restore the old labels, or, to train again with the new labels, move "
                f"{round_name(one.number)}.json and the files of all later rounds to another folder "
                f"(but keep {path.name})."
            )


def write_page(
    path: Path, picks: Sequence[Picked], root: str, title: str, names: Sequence[str], read_as: str = FAMILY
) -> None:
    """Write the page of a round, whole; it asks for labels as long as one is missing.

    Args:
        path: of the page; the file that its button saves has the same name, with the ending .csv.
        picks: with the labels that are there already, with which the page's fields begin.
        root: the folder that their files are below; in place of an image that cannot be decoded is a box that says so.
        title: of the page.
        names: class names by label; each image has a button for every class, or a search field if there are many.
        read_as: the rule by which the run reads images, so that people see what the model does.

    Raises:
        UserError: if a package that makes pages is not installed.
    """
    names = distinct(names)
    rows = [cells_of(rank, pick._replace(label=None), names) for rank, pick in enumerate(picks, start=1)]
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        pictures = list(pool.map(partial(_picture, Path(root), read_as), (pick.file for pick in picks)))
    cards = [
        {
            **pick._asdict(),
            "cells": json.dumps(row),
            "seen": row[COLUMNS.index("predicted_class")],
            "free": row[-1],
            "label": "" if pick.label is None else names[pick.label],
            **picture,
        }
        for pick, row, picture in zip(picks, rows, pictures)
    ]
    ask = any(pick.label is None for pick in picks)
    text = pages.page(
        "active/sheet.html.j2",
        "active/sheet.js" if ask else "",
        title=title,
        ask=ask,
        asked=sum(pick.free is None for pick in picks),
        cards=cards,
        names=names,
        buttons=len(names) <= _MOST_BUTTONS,
        file=path.with_suffix(".csv").name,
        round=hashlib.sha256(json.dumps(rows).encode("ascii")).hexdigest()[:16],
        columns=json.dumps(COLUMNS),
    )
    write_whole(path, text)


def _picture(root: Path, read_as: str, file: str) -> dict[str, Any]:
    """An image as the run sees it, small: its address in the page, or the fault for which it cannot be decoded."""
    picture, fault, is_small = io.BytesIO(), "", False
    try:
        with opened(root / file) as image:
            is_small = max(image.size) < _SMALL
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = as_rgb(image, read_as)
            small.thumbnail((_SIDE, _SIDE))
            small.save(picture, "JPEG", quality=90)
    except FileNotFoundError:
        fault = "the file does not exist"
    except ValueError as error:  # Refused and UserError are
        fault = one_line(error).replace(str(root / file), "the file")[:100]
    return {"fault": fault, "is_small": is_small, "address": pages.data_address(picture.getvalue())}
