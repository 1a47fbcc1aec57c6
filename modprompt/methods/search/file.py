"""schedule.json, the result of a search: the schedule of each side, how sure every choice is, and how it was found.

Per side ("text", "vision"): "place", "steps" of (remove, add), "margins", "options" by layer, and "alphas" by epoch,
layer and option; and "search" describes the run.

Options may remove "all". A side that was not searched has only place and steps; a missing side is null.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, read_text, write_json
from modprompt.io.records import KEY, check_seal, parse_json, sealed
from modprompt.programs import one_line

FILE_NAME = "schedule.json"
VERSION = 1
SIDES = ("text", "vision")
ALL = -1  # as an option's number of removed tokens: all that are there; "all" in the file
Option = tuple[int, int]  # (remove, add)


class SideOfSearch(NamedTuple):
    """One side's schedule; the fields after `steps` are empty if the side was not searched.

    place: where its prompt tokens stand.
    steps: (remove, add) of each of L layers.
    margins: of each layer, the weight (of the softmax) of the chosen option minus that of the best other.
    options: (remove, add) of each layer's options; remove may be ALL.
    alphas: of E + 1 epochs (0: as drawn), L layers and their options, before the softmax.
    """

    place: str
    steps: tuple[Option, ...]
    margins: tuple[float, ...] = ()
    options: tuple[tuple[Option, ...], ...] = ()
    alphas: tuple[tuple[tuple[float, ...], ...], ...] = ()


def write(path: PathLike, sides: Mapping[str, SideOfSearch], search: Mapping[str, Any]) -> None:
    """Write schedule.json whole, with a hash of its content.

    Args:
        path: the file.
        sides: "text", "vision" or both.
        search: what is known of the run; plain values.

    Raises:
        UserError: if an alpha is not a number.
    """
    content = {side: _as_json(sides[side]) if side in sides else None for side in SIDES}
    try:
        json.dumps(content, allow_nan=False)
    except ValueError as error:
        raise UserError(f"{path} is not written: {error}") from None
    write_json(path, sealed({**content, "search": dict(search)}, VERSION))


def read(path: PathLike) -> dict[str, SideOfSearch]:
    """The sides in a schedule.json.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged, was changed, or is another kind of file.
    """
    content = _content_of(path)
    try:
        found = {side: _side(content[side]) for side in SIDES if content.get(side) is not None}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)[:120]})") from None
    if not found or not all(side.steps for side in found.values()):
        raise UserError(f"{path} is damaged (it has no side with layers)")
    return found


def searched_on(path: PathLike) -> tuple[str, str]:
    """The data set and classes ("all", "base", "new") on which a schedule.json was found; empty where it does not say.

    Raises:
        FileNotFoundError, UserError: as read.
    """
    search = _content_of(path).get("search")
    said = search if isinstance(search, dict) else {}
    return str(said.get("dataset") or ""), str(said.get("classes") or "")


def _content_of(path: PathLike) -> dict[str, Any]:
    """The file's content, with its hash and version checked."""
    text = read_text(path)
    try:
        content: Any = parse_json(text)
        if not isinstance(content, dict) or not {*SIDES, "search"} & set(content):
            raise Refused("it holds no sides")
    except ValueError as error:  # Refused is one
        raise UserError(f"{path} is damaged or not a schedule of a search ({str(error)[:120]})") from None
    if not check_seal(content, path, "search again, or write the pairs out: [[remove, add], ...]"):
        raise UserError(
            f"{path} is not a schedule of a search (it has no hash): write the pairs out, [[remove, add], ...]"
        )
    if content[KEY].get("version") != VERSION:
        raise UserError(f"{path} has version {str(content[KEY].get('version'))[:20]}, this program reads {VERSION}")
    return content


def _as_json(side: SideOfSearch) -> dict[str, Any]:
    content: dict[str, Any] = {"place": side.place, "steps": [list(step) for step in side.steps]}
    if side.options:
        content["margins"] = list(side.margins)
        content["options"] = [[["all" if r == ALL else r, a] for r, a in layer] for layer in side.options]
        content["alphas"] = [[list(layer) for layer in epoch] for epoch in side.alphas]
    return content


def _side(content: Any) -> SideOfSearch:
    """A side of a file whose hash has said that it is as it was written."""
    return SideOfSearch(
        str(content["place"]),
        tuple((int(remove), int(add)) for remove, add in content["steps"]),
        tuple(content.get("margins", ())),
        tuple(tuple((ALL if r == "all" else r, a) for r, a in layer) for layer in content.get("options", ())),
        tuple(tuple(map(tuple, epoch)) for epoch in content.get("alphas", ())),
    )


def fault(folder: PathLike) -> str:
    """What is wrong with the schedules that a search has left in its folder; empty if nothing."""
    try:
        read(Path(folder) / FILE_NAME)
    except FileNotFoundError:
        return f"it has left no {FILE_NAME}: its trainer and options do not search"
    except (OSError, ValueError) as error:  # UserError is a ValueError
        return " ".join(str(error).split())
    return ""
