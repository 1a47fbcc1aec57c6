"""The record of a round: what was chosen, which labels it got, its results, and the generators' states.

Written when images are chosen, when they have labels, and when the round is done; each time whole. A killed run
resumes from the newest.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.data.rounds import FOLDER, round_name
from modprompt.errors import UserError
from modprompt.io.files import Refused, write_json
from modprompt.io.records import check_seal, read_json, sealed

VERSION = 1


class Picked(NamedTuple):
    """An image that a round has chosen.

    file: its path below the image folder.
    predicted: the class number that the model gave it; None where no model was asked.
    probability: of that class.
    score: by which it was chosen; None where it was drawn.
    reason: why, in words.
    free: the label that the model itself gave it, if it did.
    label: the label that training uses, once it is known.
    """

    file: str
    predicted: int | None
    probability: float | None
    score: float | None
    reason: str
    free: int | None = None
    label: int | None = None


class Round(NamedTuple):
    """A round as far as it has come.

    number: from 0.
    settings: what must be the same to resume, as {name: text}.
    picks: in the order of choosing.
    generators: their states after the choice, or, once it is done, after the test.
    facts: its results; None before it is done.
    clip: the weights of the CLIP that chose, where no round's trainer did; else empty.
    """

    number: int
    settings: dict[str, str]
    picks: tuple[Picked, ...]
    generators: dict[str, Any]
    facts: dict[str, Any] | None = None
    clip: str = ""

    @property
    def labelled(self) -> bool:
        """Whether all of its images have a label."""
        return all(pick.label is not None for pick in self.picks)


def folder_of(output_dir: str) -> Path:
    """Where the rounds of a run are kept."""
    return Path(output_dir) / FOLDER


def _path(folder: Path, number: int) -> Path:
    return folder / f"{round_name(number)}.json"


def write(folder: Path, one: Round) -> None:
    """Write a round's record, whole."""
    content = {**one._asdict(), "picks": [pick._asdict() for pick in one.picks]}
    write_json(_path(folder, one.number), sealed(content, VERSION))


def read(folder: Path, number: int, classes: int) -> Round | None:
    """The record of a round; None if there is none.

    Args:
        folder: where rounds are kept.
        number: of the round.
        classes: how many there are.

    Raises:
        UserError: if it is damaged.
    """
    path = _path(folder, number)
    if not path.exists():
        return None
    content = read_json(path) or {}
    try:
        if not check_seal(content, path):
            raise Refused("it has no hash")
        one = _understood(content)
        if one.number != number:
            raise Refused(f"it belongs to round {one.number}")
        if any((label or 0) >= classes for pick in one.picks for label in (pick.predicted, pick.free, pick.label)):
            raise Refused(f"it has other classes than the {classes} that are there")
    except UserError as error:
        raise UserError(f"{error}; {_advice(folder, number)}") from None
    except Refused as error:
        raise UserError(f"{path} is damaged ({error}); {_advice(folder, number)}") from None
    return one


def _advice(folder: Path, number: int) -> str:
    return f"to choose anew from round {number} on, move {folder / round_name(number)}.* and all later rounds away"


def _understood(content: Mapping[str, Any]) -> Round:
    """The round in a record.

    Raises:
        Refused: if it is none.
    """
    try:
        picks = tuple(Picked(**pick) for pick in content["picks"])
        return Round(**{name: content[name] for name in Round._fields if name in content} | {"picks": picks})
    except (KeyError, TypeError) as error:
        raise Refused(f"it is no record of a round: {error}") from None


def copy_all(source: Path, folder: Path) -> None:
    """Copy all rounds of another run, whole or not at all.

    Args:
        source: where the other run keeps its rounds.
        folder: where they go; empty or missing.
    """
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed start
    shutil.copytree(source, aside, ignore=shutil.ignore_patterns("job", "*.part"))
    aside.rename(folder)
