"""schedule.json, the result of a search: the schedule of each side, how sure every choice is, and how it was found.

Per side ("text", "vision"): "place", "steps" of (remove, add), "margins", "options" by layer, and "alphas" by epoch,
layer and option; and "search" describes the run.

Options may remove "all". A side that was not searched has only place and steps; a missing side is null.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.checksum import KEY, check_seal, sealed
from modprompt.io.safe_open import PathLike, Refused, read_text
from modprompt.io.text import write_json

FILE_NAME = "schedule.json"
VERSION = 1
SIDES = ("text", "vision")
ALL = -1  # as an option's number of removed tokens: all that are there; "all" in the file
Option = tuple[int, int]  # (remove, add)

_MOST = 100_000  # layers, options, epochs, tokens
_LARGEST = 1e300


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
        UserError: if a side is not valid in a file, e.g. because an alpha is not a number.
    """
    content = {side: _as_json(sides[side]) if side in sides else None for side in SIDES}
    try:
        _sides_in(content)
    except Refused as error:
        raise UserError(f"{path} is not written: {error}") from None
    write_json(path, sealed({**content, "search": dict(search)}, VERSION))


def read(path: PathLike) -> dict[str, SideOfSearch]:
    """The sides in a schedule.json.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged, was changed, or is another kind of file.
    """
    try:
        return _sides_in(_content_of(path))
    except Refused as error:
        raise UserError(f"{path} is damaged ({error})") from None


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
        content: Any = json_text.parse(text, finite=True)
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


def _sides_in(content: Mapping[str, Any]) -> dict[str, SideOfSearch]:
    found = {side: _side(content[side], side) for side in SIDES if content.get(side) is not None}
    if not found:
        raise Refused("it has neither a text nor a vision side")
    return found


def _side(content: Any, side: str) -> SideOfSearch:
    if not isinstance(content, dict) or not isinstance(content.get("place"), str):
        raise Refused(f"its {side} side has no place")
    steps = tuple(_pair(step, f"{side} steps") for step in _list(content.get("steps"), f"{side} steps"))
    if not steps:
        raise Refused(f"its {side} side has no layers")
    if "options" not in content:
        return SideOfSearch(content["place"], steps)
    layers = _list(content["options"], f"{side} options", len(steps))
    options = tuple(
        tuple(_pair(option, f"{side} options", True) for option in _list(layer, f"{side} options")) for layer in layers
    )
    margins = _numbers(content.get("margins"), f"{side} margins", len(steps))
    alphas = tuple(
        tuple(
            _numbers(row, f"{side} alphas", len(layer))
            for row, layer in zip(_list(epoch, f"{side} alphas", len(steps)), options)
        )
        for epoch in _list(content.get("alphas"), f"{side} alphas")
    )
    return SideOfSearch(content["place"], steps, margins, options, alphas)


def _list(value: Any, what: str, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST or length not in (None, len(value)):
        raise Refused(f"its {what} are not a list" + (f" of {length}" if length is not None else ""))
    return value


def _pair(value: Any, what: str, may_be_all: bool = False) -> Option:
    remove, add = _list(value, what, 2)
    takes_all = may_be_all and remove == "all"
    for number in (add,) if takes_all else (remove, add):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
            raise Refused(f"its {what} hold {str(value)[:40]}")
    return (ALL if takes_all else remove), add


def _numbers(value: Any, what: str, length: int) -> tuple[float, ...]:
    numbers = _list(value, what, length)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) < _LARGEST:
            raise Refused(f"its {what} hold {str(number)[:40]}")
    return tuple(map(float, numbers))


def fault(folder: PathLike) -> str:
    """What is wrong with the schedules that a search has left in its folder; empty if nothing."""
    try:
        read(Path(folder) / FILE_NAME)
    except FileNotFoundError:
        return f"it has left no {FILE_NAME}: its trainer and options do not search"
    except (OSError, ValueError) as error:  # UserError is a ValueError
        return " ".join(str(error).split())
    return ""
