"""What experiments know of trainers by name, and what may be trained before one: a search, a teacher, prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.methods.search import file
from modprompt.methods.table import BY_NAME, HEADS, PROMPTS, ZERO_SHOT, Row, kind_of, sides_of

_OF_SCHEDULE = ("SCHEDULE_", "LENGTHS_", "IMG_ALPHA_PATH", "TXT_ALPHA_PATH")  # how keys begin that set what is found
_OFF = ("", "False", "0", "None")  # how empty settings are written
_FROM = "PROMPTS_FROM"
Settings = Mapping[str, str]  # text by dotted key


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; true for one that is not ours."""
    return kind_of(trainer) != ZERO_SHOT


def tests_apart(trainer: str) -> bool:
    """Whether a trainer trains on all classes, and one run of it tests base and new ones each among their own."""
    return trainer in BY_NAME and BY_NAME[trainer].apart


def binds(trainer: str, settings: Settings) -> bool:
    """Whether what a trainer learns under these settings belongs to its classes; false for one that is not ours."""
    row = BY_NAME.get(trainer)
    if row is None or not row.bound:
        return False
    return all((_setting(row, key, settings) not in _OFF) == is_set for key, is_set in row.bound.items())


def unused(trainer: str, settings: Settings) -> str:
    """A note that what would bind a trainer to its classes has no effect because of another setting; else empty."""
    row = BY_NAME.get(trainer)
    given = [] if row is None else [key for key in row.bound if _setting(row, key, settings) not in _OFF]
    if row is None or len(given) < 2:
        return ""
    asked, *against = sorted(given, key=lambda key: not row.bound[key])
    if not row.bound[asked] or row.bound[against[0]]:
        return ""
    return f"{asked} has no effect because {against[0]} is set, so the results are those of {trainer} without {asked}."


def _setting(row: Row, key: str, settings: Settings) -> str:
    """A setting of a method; if not given, from the node that its repository has it in."""
    return settings.get(f"{row.node}.{key}") or settings.get(f"{row.shared}.{key}", "")


class Stage(NamedTuple):
    """A first stage; by default there is none."""

    name: str = ""  # also of its part of a result
    key: str = ""  # in a method of an experiment file
    names_method: bool = False  # whether the key names another method; else it gives a trainer, config and options
    called: str = ""  # in messages
    without: str = ""  # what a protocol without first stages says that it has none of
    seconds: str = ""  # of which a training has its share
    group: str = ""  # a report's name for methods on top of what another one has trained
    parameters: str = ""  # whose trained parameters are counted, too
    # why it cannot come before a trainer whose method has these options' keys, and these settings with its config
    fault: Callable[[str, Sequence[str], Settings], str] = lambda trainer, keys, settings: ""
    # the settings with which a trainer with settings uses what it left in a folder
    handed_on: Callable[[Path, str, Settings], Mapping[str, str]] = lambda folder, trainer, settings: {}
    finds: Callable[[str], bool] = lambda key: False  # whether it finds a setting's value
    lacks: Callable[[Any], str] = lambda folder: ""  # what is missing in its output folder; empty if nothing is


def _finds_schedule(key: str) -> bool:
    return key.rpartition(".")[2].startswith(_OF_SCHEDULE)


def _no_search(trainer: str, keys: Sequence[str], settings: Settings) -> str:
    if not sides_of(trainer):
        return f"the schedule of {trainer} cannot be set, so a search is not supported."
    node = f"{BY_NAME[trainer].node}."
    given = (key for key in keys if key.startswith(node) and _finds_schedule(key))
    return next((f"{key} is set, but the search determines {key}. Remove {key} from the options." for key in given), "")


def _schedules(folder: Path, trainer: str, settings: Settings) -> dict[str, str]:
    row = BY_NAME[trainer]
    return {f"{row.node}.SCHEDULE_{side.upper()}": f"@{folder / file.FILE_NAME}" for side in row.sides}


def _taught_nodes(trainer: str, settings: Settings) -> list[str]:
    """The nodes under which a trainer with settings has a teacher."""
    own = ["TRAINER.PROMPTKD"] if trainer == "PromptKD" else []
    return own + (["TRAINER.KDPL"] if settings.get("TRAINER.KDPL.ON") == "True" else [])


def _no_teacher(trainer: str, keys: Sequence[str], settings: Settings) -> str:
    if not _taught_nodes(trainer, settings):
        return f"{trainer} has no teacher. Use the trainer PromptKD, or a method with prompts and TRAINER.KDPL.ON True."
    text = "{0} is set, but the experiment trains the teacher. Remove {0} from the options."
    return next((text.format(key) for key in keys if key.endswith(".TEACHER_CKPT")), "")


ON_PROMPTS = Stage(
    "heads",
    "prompts_from",
    names_method=True,
    called="the training of the prompts",
    without="heads on trained prompts",
    seconds="the training of the prompts under a head",
    group="prompts + head",
    parameters="of a head, with those of the prompts that it is put on",
    fault=lambda trainer, keys, settings: (
        ""
        if kind_of(trainer) == HEADS
        else f"{trainer} is not a head, but only heads can be trained on top of prompts."
    ),
    handed_on=lambda folder, trainer, settings: {f"{BY_NAME[trainer].node}.{_FROM}": str(folder)},
)
STAGES: tuple[Stage, ...] = (
    Stage(
        "search",
        "search",
        called="the search for the schedule",
        without="a search for the schedule. Set the schedule in the options instead.",
        seconds="a search",
        fault=_no_search,
        handed_on=_schedules,
        finds=_finds_schedule,
        lacks=file.fault,
    ),
    ON_PROMPTS,
    Stage(
        "teachers",
        "teacher_from",
        names_method=True,
        called="the training of the teacher",
        without="the training of teachers. Set TEACHER_CKPT to a checkpoint instead.",
        seconds="the training of its teacher",
        fault=_no_teacher,
        handed_on=lambda folder, trainer, settings: {
            f"{node}.TEACHER_CKPT": str(folder) for node in _taught_nodes(trainer, settings)
        },
        finds=lambda key: key.endswith(".TEACHER_CKPT"),
    ),
)
_BY_NAME = {one.name: one for one in (Stage(), *STAGES)}
GROUPS = ("", PROMPTS, HEADS, ON_PROMPTS.group)  # headings of a report, in order


def stage_of(name: str) -> Stage:
    """The first stage of this name; for no name one that is none."""
    return _BY_NAME[name]


def group_of(trainer: str, options: Settings, has_front: bool = False) -> str:
    """The heading of a method in a report that has several; empty for zero-shot, and for one that is not ours. With a
    front its first stage is another method."""
    kind = kind_of(trainer)
    if kind == ZERO_SHOT:
        return ""
    if kind != HEADS:
        return kind
    return ON_PROMPTS.group if has_front or _setting(BY_NAME[trainer], _FROM, options) not in _OFF else kind
