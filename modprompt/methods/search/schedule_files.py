"""Settings that name a file instead of a schedule: SCHEDULE_TEXT @FILE, SCHEDULE_VISION @FILE, DPL's alpha files.

They are read before anything is merged, so that a run's settings, their hash, its result and its checkpoints hold the
numbers, never a path. A file is a search's schedule.json, or a .npy of DPL's reference.
"""

import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import SettingError, UserError
from modprompt.io.paths import of_user
from modprompt.io.settings import Given, Settings, as_text
from modprompt.methods import table
from modprompt.methods.search import file as schedule_file

_SCHEDULE = re.compile(r"TRAINER\.(\w+)\.SCHEDULE_(TEXT|VISION)")
_OF_DPL = re.compile(r"TRAINER\.(\w+)\.(IMG_ALPHA_PATH|TXT_ALPHA_PATH|ALPHAS_SWAPPED)")
_SIDE_OF = {"IMG_ALPHA_PATH": "vision", "TXT_ALPHA_PATH": "text"}
_OTHER = {"vision": "text", "text": "vision"}
_Entry = tuple[str, Given]


class NamedFile(NamedTuple):
    """A file that a setting may name in place of its value.

    path: of the file; empty if it names none.
    mark: the mark before it in the setting's text.
    """

    path: str
    mark: str


class _Side(NamedTuple):
    """One side in a file: (remove, add) per layer, the place of its tokens; their numbers, if it says nothing else."""

    steps: tuple[tuple[int, int], ...]
    place: str = ""
    lengths: tuple[int, ...] | None = None


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
    sideless: list[str] = []
    read = _with_steps(settings, planned, sideless)
    for node in _nodes_of_dpl(settings):
        read = _with_lengths(read, node, planned, sideless)
    if sideless and not planned:
        warnings.warn(
            f"{', '.join(sideless)}: a .npy does not say whose alphas it holds, so it counts for the side that it is "
            "given for; the reference swaps its names (_txt.npy holds the image side): for files under those names "
            "set DPL's ALPHAS_SWAPPED True",
            stacklevel=2,
        )
    if not planned:
        _warn_of_new_classes(settings)
    return read


def _warn_of_new_classes(settings: Settings) -> None:
    """Warn of schedules that were searched on classes that a run on half of the classes treats as new."""
    name, half = (
        as_text(settings[key].value) if key in settings else "" for key in ("DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES")
    )
    for path in dict.fromkeys(file_of(key, settings[key].value) for key in settings):
        if not path or _is_bare(path) or half not in ("base", "new"):
            continue
        dataset, classes = schedule_file.searched_on(of_user(path).absolute())
        if dataset == name and classes not in ("", "base", half):
            warnings.warn(
                f"{path}: this schedule was searched on {classes} classes of {name}, but this run is on {half} "
                "ones: the search has seen validation images of new classes, so numbers on these are not base-to-new",
                stacklevel=3,
            )


def named_by(key: str, value: Any) -> NamedFile | None:
    """The file that a setting names: @FILE, or one of DPL's, which may be empty; None for other settings."""
    if not key.startswith("TRAINER."):
        return None
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
    return found is not None and found.group(1) in {row.name.upper() for row in _rows_of_dpl()}


def _rows_of_dpl() -> list[table.Row]:
    return [row for row in table.METHODS if "DPL" in (row.name, row.of)]


def _nodes_of_dpl(settings: Settings) -> list[str]:
    return list(dict.fromkeys(key.split(".")[1] for key in settings if _is_of_dpl(key)))


def _with_steps(settings: Settings, planned: bool, sideless: list[str]) -> Settings:
    """Replace @FILE by pairs, and add the settings that follow from the file."""
    given: list[_Entry] = []
    beside: list[_Entry] = []
    for key, found in settings.given:
        path = file_of(key, found.value) if _SCHEDULE.fullmatch(key) else None
        if path is None:
            given.append((key, found))
        elif found is settings[key]:  # otherwise a later value overrides it
            node, side = key.split(".")[1], key.rpartition("_")[2].lower()
            read = _side_of(path, side, key, planned, sideless)
            value = found.value if read is None else [list(step) for step in read.steps]
            given.append((key, found._replace(value=value)))
            beside += [] if read is None else _beside(node, side, read, found.source)
    return _with_beside(Settings(tuple(given)), beside)


def _with_beside(settings: Settings, beside: Sequence[_Entry]) -> Settings:
    """Settings with what follows from a file, unless the command line gives it."""
    typed = set(settings.on_command_line())
    return Settings((*settings.given, *(entry for entry in beside if entry[0] not in typed)))


def _beside(node: str, side: str, read: _Side, source: str) -> list[_Entry]:
    """The place of the tokens, and the number that layer 0 adds, under the method's name for it."""
    first = next((row.first.get(side, "") for row in table.METHODS if row.name.upper() == node), "")
    place = read.place if any(add for _, add in read.steps) else ""  # without tokens there is no place
    values: list[tuple[str, Any]] = [(f"PLACE_{side.upper()}", place), (first, read.steps[0][1])]
    return [(f"TRAINER.{node}.{name}", Given(value, source)) for name, value in values if name and value]


def _with_lengths(settings: Settings, node: str, planned: bool, sideless: list[str]) -> Settings:
    """Replace DPL's alpha files by numbers of tokens or pairs, and drop the switch for swapped ones."""
    prefix = f"TRAINER.{node}."
    keys = [prefix + name for name in _SIDE_OF if prefix + name in settings]
    paths = {key: path for key, path in ((key, file_of(key, settings[key].value)) for key in keys) if path}
    swapped = _is_on(settings, f"{prefix}ALPHAS_SWAPPED")
    bare = {key for key, path in paths.items() if _is_bare(path)}
    read: dict[str, _Entry] = {}
    beside: list[_Entry] = []
    for key, path in paths.items():
        side = _SIDE_OF[key[len(prefix) :]]
        side = _OTHER[side] if swapped and key in bare else side
        found = _side_of(path, side, key, planned, [] if swapped else sideless)
        if found is None:
            return settings
        value: list[Any]
        if found.lengths is None:
            name, value = "SCHEDULE", [list(step) for step in found.steps]
            beside += _beside(node, side, found, settings[key].source)
        else:
            name, value = "LENGTHS", list(found.lengths)
        read[key] = (f"{prefix}{name}_{side.upper()}", settings[key]._replace(value=value))
    _refuse_twice(settings, read)
    if swapped and not bare and not planned:
        warnings.warn(f"{prefix}ALPHAS_SWAPPED is not used: no .npy file is given", stacklevel=3)
    replaced = _replaced(settings, read, {prefix + name for name in (*_SIDE_OF, "ALPHAS_SWAPPED")})
    return _with_beside(replaced, beside)


def _is_on(settings: Settings, key: str) -> bool:
    text = as_text(settings[key].value) if key in settings else "False"
    if text not in ("True", "False"):
        raise SettingError([(key, f" must be True or False, got {text!r}")])
    return text == "True"


def _refuse_twice(settings: Settings, read: Mapping[str, _Entry]) -> None:
    typed = set(settings.on_command_line())
    for key, (name, _) in read.items():
        if {name, key} <= typed:
            raise SettingError([(key, f": {name} is also given by the command line; give only one")])


def _replaced(settings: Settings, read: Mapping[str, _Entry], gone: set[str]) -> Settings:
    given: list[_Entry] = []
    for key, found in settings.given:
        if key not in gone:
            given.append((key, found))
        elif key in read and found is settings[key]:
            given.append(read[key])
    return Settings(tuple(given))


def _is_bare(path: str) -> bool:
    return path.endswith(".npy")


def _side_of(path: str, side: str, key: str, planned: bool, sideless: list[str]) -> _Side | None:
    """One side in a file; None if the file is missing and may be. A file that names no side is added to `sideless`."""
    whole = of_user(path).absolute()
    try:
        there = whole.stat()
        sides = _read(str(whole), there.st_mtime_ns, there.st_size)
    except (FileNotFoundError, NotADirectoryError):
        if planned:
            return None
        where = "" if Path(path).is_absolute() else f", relative to {Path.cwd()}"
        raise SettingError([(key, f": there is no file {path or 'without a name'}{where}")]) from None
    except OSError as error:
        raise SettingError([(key, f": {path} cannot be read ({error.strerror})")]) from None
    except UserError as error:
        raise SettingError([(key, f": {error}")]) from None
    if side not in sides:
        raise SettingError([(key, f": {path} has no {side} side")])
    if _is_bare(path):
        sideless.append(f"{key} {path}")
    return sides[side]


@functools.lru_cache(maxsize=256)
def _read(path: str, *_stamp: int) -> Mapping[str, _Side]:
    """The sides in a file; it is read once for each time and size."""
    if path.endswith(".npz"):
        raise UserError(f"{path} is not read: give the schedule.json of that search")
    if not _is_bare(path):
        return {side: _Side(one.steps, one.place) for side, one in schedule_file.read(path).items()}
    lengths = _lengths(path)
    both = _Side(tuple(zip((0, *lengths), lengths)), lengths=lengths)  # they replace those of the layer before
    return {"text": both, "vision": both}


def _lengths(path: str) -> tuple[int, ...]:
    """Tokens of each layer in a file of DPL's reference: the largest of its alphas (L, 1 + C), column c for c tokens.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or holds no alphas.
    """
    import numpy as np  # late: --help need not wait for it

    from modprompt.io.arrays import read_array

    values = read_array(path)
    if values.ndim != 2 or not values.size or values.dtype.kind != "f" or not np.isfinite(values).all():
        what = f"{values.dtype} of shape {values.shape}"
        raise UserError(f"{path}: alphas must be an array of finite numbers, layers x options, got {what}")
    return tuple(int(column) for column in values.argmax(1))
