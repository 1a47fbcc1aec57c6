"""schedule.json, the result of a search: the schedule of each side, how sure every choice is, and how it was found.

Per side ("text", "vision"): "place", "steps" of (remove, add), "margins", "options" by layer, and "alphas" by epoch,
layer and option; and "search" describes the run. Options may remove "all". A side that was not searched has only place
and steps; a missing side is null.

Settings may name such a file instead of a schedule (SCHEDULE_TEXT @FILE, SCHEDULE_VISION @FILE), or a .npy of the
reference of DPL. They are read before anything is merged, so that a run, its result and its checkpoints hold the
numbers, never a path.
"""

import functools
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import SettingError, UserError
from modprompt.io.files import PathLike, Refused, of_user, read_text, write_json
from modprompt.io.records import KEY, check_seal, parse_json, sealed
from modprompt.io.settings import Given, Settings, as_text
from modprompt.methods import table
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
        raise UserError(f"{path} cannot be written: {error}") from None
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
        raise UserError(f"{path} is damaged ({one_line(error)[:120]}). Use another copy of the file.") from None
    if not found or not all(side.steps for side in found.values()):
        raise UserError(f"{path} is damaged, because it contains no layers. Use another copy of the file.")
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
            raise Refused("the file contains neither a text schedule nor an image schedule")
    except ValueError as error:  # Refused is one
        raise UserError(
            f"{path} is not a valid schedule.json of a schedule search ({str(error)[:120]}). Use another file."
        ) from None
    if not check_seal(content, path, "Search again, or set the schedule as a list of pairs, [[remove, add], ...]."):
        raise UserError(
            f"{path} was not written by a schedule search, because it does not contain the hash that a search adds. "
            "Set the schedule as a list of pairs, [[remove, add], ...]."
        )
    if content[KEY].get("version") != VERSION:
        raise UserError(
            f"{path} has the format version {str(content[KEY].get('version'))[:20]}, but this version of modprompt "
            f"supports only version {VERSION}. Run the search again to write a new file."
        )
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
        return f"the run did not write {FILE_NAME}, because its trainer and options do not search for a schedule"
    except (OSError, ValueError) as error:  # UserError is a ValueError
        return " ".join(str(error).split())
    return ""


_SCHEDULE = re.compile(r"TRAINER\.(\w+)\.SCHEDULE_(TEXT|VISION)")
_OF_DPL = re.compile(r"TRAINER\.(\w+)\.(IMG_ALPHA_PATH|TXT_ALPHA_PATH|ALPHAS_SWAPPED)")
_OTHER = {"vision": "text", "text": "vision"}
_Entry = tuple[str, Given]


class NamedFile(NamedTuple):
    """A file that a setting may name in place of its value.

    path: of the file; empty if it names none.
    mark: the mark before it in the setting's text.
    """

    path: str
    mark: str


def expanded(settings: Settings, planned: bool = False) -> Settings:
    """Settings in which files named instead of schedules are replaced by their content.

    SCHEDULE_TEXT @FILE and SCHEDULE_VISION @FILE of any method become that side's pairs. Unless the command line gives
    them, two more settings follow: the place of the file's tokens (PLACE_TEXT, PLACE_VISION), and the number of tokens
    that layer 0 adds. DPL's IMG_ALPHA_PATH and TXT_ALPHA_PATH become LENGTHS_VISION and LENGTHS_TEXT, or with a
    schedule.json what SCHEDULE_VISION and SCHEDULE_TEXT become. All have the source of the setting that named the file.

    Args:
        settings: as given; paths are relative to the current folder.
        planned: whether the run starts later: then a missing file stays a name, and there are no warnings.

    Raises:
        SettingError: if a file is missing, damaged, of another kind or lacks the side.
    """
    if all(named_by(key, found.value) is None for key, found in settings.given):
        return settings
    typed = set(settings.on_command_line())
    swaps = {key: _is_on(settings, key) for key in settings if _is_of_dpl(key) and key.endswith("SWAPPED")}
    given: list[_Entry] = []
    beside: list[_Entry] = []
    bare: dict[str, str] = {}  # by setting, the files that do not say their side
    late: set[str] = set()  # nodes of which a file is not there yet
    for key, found in settings.given:
        path, of_dpl = file_of(key, found.value), _is_of_dpl(key)
        if path is None:
            given += [] if of_dpl else [(key, found)]  # what names no file says nothing else
        elif found is settings[key]:  # otherwise a later value overrides it
            node, side = key.split(".")[1], "text" if key.endswith(("_TEXT", "TXT_ALPHA_PATH")) else "vision"
            swapped = of_dpl and swaps.get(f"TRAINER.{node}.ALPHAS_SWAPPED", False)
            if _is_bare(path):
                side = _OTHER[side] if swapped else side
                bare[key] = path
            read = _side_of(path, side, key, planned)
            if read is None:
                given.append((key, found))
                late.add(node)
                continue
            lengths = of_dpl and _is_bare(path)
            name = f"TRAINER.{node}.{'LENGTHS' if lengths else 'SCHEDULE'}_{side.upper()}"
            if of_dpl and {name, key} <= typed:
                raise SettingError([(key, f" and {name} are both set on the command line. Remove either of them.")])
            value: list[Any] = [add for _, add in read.steps] if lengths else [list(step) for step in read.steps]
            given.append((name, found._replace(value=value)))
            beside += [] if lengths else _beside(node, side, read, found.source)
    if not planned:
        _warn(settings, bare, swaps)
    given += [(key, settings[key]) for key in swaps if key.split(".")[1] in late]
    return Settings((*given, *(entry for entry in beside if entry[0] not in typed)))


def _warn(settings: Settings, bare: Mapping[str, str], swaps: Mapping[str, bool]) -> None:
    """Warn of files that do not say their side, a switch without effect, schedules that have seen new classes."""
    on = tuple(key[: -len("ALPHAS_SWAPPED")] for key, swapped in swaps.items() if swapped)
    unsure = [f"{key} {path}" for key, path in bare.items() if not (_is_of_dpl(key) and key.startswith(on))]
    if unsure:
        warnings.warn(
            f"{', '.join(unsure)}: a .npy file does not record its encoder, so the encoder is taken from the name of "
            "the setting. The original code exchanges the two names (_txt.npy contains the alphas of the image "
            "encoder). For files of the original code, set DPL's ALPHAS_SWAPPED to True.",
            stacklevel=3,
        )
    for node in on:
        if not any(key.startswith(node) for key in bare):
            warnings.warn(f"{node}ALPHAS_SWAPPED has no effect, because no .npy file with alphas is set.", stacklevel=3)
    name, half = (
        as_text(settings[key].value) if key in settings else "" for key in ("DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")
    )
    for path in dict.fromkeys(file_of(key, settings[key].value) for key in settings):
        if not path or _is_bare(path) or half not in ("base", "new"):
            continue
        dataset, classes = searched_on(of_user(path).absolute())
        if dataset == name and classes not in ("", "base", half):
            warnings.warn(
                f"{path}: the schedule was searched on {classes} classes of {name}, but this run uses {half} classes. "
                "The search used validation images of new classes, so the accuracy on new classes is not a valid "
                "base-to-new result.",
                stacklevel=3,
            )


def named_by(key: str, value: Any) -> NamedFile | None:
    """The file that a setting names: @FILE, or one of DPL's, which may be empty; None for other settings."""
    path = file_of(key, value)
    if path is None and not _is_of_dpl(key):
        return None
    return NamedFile(path or "", "@" if _SCHEDULE.fullmatch(key) else "")


def file_of(key: str, value: Any) -> str | None:
    """The path that a setting names instead of numbers; None if it names none."""
    text = "" if value is None else str(value).strip()
    if _SCHEDULE.fullmatch(key):
        return text[1:] if text.startswith("@") else None
    if _is_of_dpl(key) and key.endswith("_ALPHA_PATH"):
        return None if text.lower() in ("", "none") else text
    return None


def _is_of_dpl(key: str) -> bool:
    found = _OF_DPL.fullmatch(key)
    return found is not None and found[1] in {row.name.upper() for row in table.METHODS if "DPL" in (row.name, row.of)}


def _is_on(settings: Settings, key: str) -> bool:
    text = as_text(settings[key].value)
    if text not in ("True", "False"):
        raise SettingError([(key, f" must be True or False, got {text!r}.")])
    return text == "True"


def _beside(node: str, side: str, read: SideOfSearch, source: str) -> list[_Entry]:
    """The place of the tokens, and the number that layer 0 adds, under the method's name for it."""
    first = next((row.first.get(side, "") for row in table.METHODS if row.name.upper() == node), "")
    place = read.place if any(add for _, add in read.steps) else ""  # without tokens there is no place
    values: list[tuple[str, Any]] = [(f"PLACE_{side.upper()}", place), (first, read.steps[0][1])]
    return [(f"TRAINER.{node}.{name}", Given(value, source)) for name, value in values if name and value]


def _is_bare(path: str) -> bool:
    return path.endswith(".npy")


def _side_of(path: str, side: str, key: str, planned: bool) -> SideOfSearch | None:
    """One side in a file; None if the file is missing and may be."""
    whole = of_user(path).absolute()
    try:
        there = whole.stat()
        sides = _read(str(whole), there.st_mtime_ns, there.st_size)
    except (FileNotFoundError, NotADirectoryError):
        if planned:
            return None
        where = "" if Path(path).is_absolute() else f", relative to {Path.cwd()}"
        raise SettingError([(key, f": the file {path or 'without a name'} does not exist{where}.")]) from None
    except OSError as error:
        raise SettingError([(key, f": {path} cannot be read ({error.strerror}).")]) from None
    except UserError as error:
        raise SettingError([(key, f": {error}")]) from None
    if side not in sides:
        raise SettingError([(key, f": {path} has no schedule for the {side} encoder.")])
    return sides[side]


@functools.lru_cache(maxsize=256)
def _read(path: str, *_stamp: int) -> Mapping[str, SideOfSearch]:
    """The sides in a file; it is read once for each time and size."""
    if path.endswith(".npz"):
        raise UserError(
            f"{path} cannot be read as a schedule, because files with the extension .npz are not supported. Use "
            "the file schedule.json of the same search."
        )
    if not _is_bare(path):
        return read(path)
    import numpy as np  # late: --help need not wait for it

    from modprompt.io.arrays import read_array

    alphas = read_array(path)  # of DPL's reference: (L, 1 + C), the largest in column c for c tokens
    if alphas.ndim != 2 or not alphas.size or alphas.dtype.kind != "f" or not np.isfinite(alphas).all():
        what = f"{alphas.dtype} of shape {alphas.shape}"
        raise UserError(f"{path}: alphas must be an array of finite numbers of shape (layers, options), got {what}.")
    lengths = alphas.argmax(1).tolist()
    return dict.fromkeys(SIDES, SideOfSearch("", tuple(zip((0, *lengths), lengths))))
