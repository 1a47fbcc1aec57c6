"""First stages: what an experiment may train before a method, and the groups of methods in a report.

A search determines the schedule of a method, a head is trained on top of trained prompts, and a student learns from a
trained teacher. The second stage then uses the output folder of the first stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.methods.search import file
from modprompt.methods.table import BY_NAME, HEADS, PROMPTS, ZERO_SHOT, Row, kind_of, sides_of

_SCHEDULE_KEYS = ("SCHEDULE_", "LENGTHS_", "IMG_ALPHA_PATH", "TXT_ALPHA_PATH")  # the starts of keys that set a schedule
_OFF = ("", "False", "0", "None")  # the texts of empty settings
_PROMPTS_FROM = "PROMPTS_FROM"
SEARCH = "search"
ON_PROMPTS = "prompts + head"  # the group of heads on top of trained prompts
GROUPS = ("", PROMPTS, HEADS, ON_PROMPTS)  # the groups of methods in the order of a report
Settings = Mapping[str, str]  # texts by dotted key


def trains(trainer: str) -> bool:
    """Return True if a trainer has parameters to train, which is assumed of custom trainers."""
    return kind_of(trainer) != ZERO_SHOT


def tests_apart(trainer: str) -> bool:
    """Return True if a trainer uses images of all classes, and one run tests base and new classes separately."""
    return trainer in BY_NAME and BY_NAME[trainer].apart


def is_bound_to_classes(trainer: str, settings: Settings) -> bool:
    """Return True if the trained parameters belong to the training classes; False for a custom trainer."""
    row = BY_NAME.get(trainer)
    if row is None or not row.bound:
        return False
    return all((_setting(row, key, settings) not in _OFF) == is_set for key, is_set in row.bound.items())


def describe_ignored(trainer: str, settings: Settings) -> str:
    """Return a note on a setting that would bind a method to its classes but that another setting disables, or ""."""
    row = BY_NAME.get(trainer)
    set_keys = [] if row is None else [key for key in row.bound if _setting(row, key, settings) not in _OFF]
    if row is None or len(set_keys) < 2:
        return ""
    ignored, *others = sorted(set_keys, key=lambda key: not row.bound[key])
    if not row.bound[ignored] or row.bound[others[0]]:
        return ""
    return (
        f"{ignored} has no effect because {others[0]} is set, so the results are those of {trainer} without {ignored}."
    )


def _setting(row: Row, key: str, settings: Settings) -> str:
    """Return a setting of a method, which may be in the node of the method or of its original repository."""
    return settings.get(f"{row.node}.{key}") or settings.get(f"{row.shared}.{key}", "")


def group_of(trainer: str, options: Settings, is_on_method: bool = False) -> str:
    """Return the group of a method in a report, or "" for zero-shot and custom trainers.

    Args:
        trainer: the trainer.
        options: the options of the method.
        is_on_method: whether the first stage is another method of the experiment.
    """
    kind = kind_of(trainer)
    if kind == ZERO_SHOT:
        return ""
    if kind != HEADS:
        return kind
    has_prompts = is_on_method or _setting(BY_NAME[trainer], _PROMPTS_FROM, options) not in _OFF
    return ON_PROMPTS if has_prompts else kind


class FirstStage(NamedTuple):
    """A kind of first stage.

    key: the key of the second method in an experiment file.
    is_method: whether the value of the key is the name of another method; otherwise it has a trainer, config and
        options.
    name: the name of the first stage in messages.
    unsupported: the end of the message of a protocol without first stages.
    duration: the name of the time that a report adds to the time of a training.
    find_fault: returns why a trainer cannot have this first stage, or "". The arguments are the trainer, the keys of
        the method's options, and all of its settings.
    settings_for: returns the settings with which the second stage uses the first. The arguments are the output folder
        of the first stage, and the trainer and settings of the second.
    determines: returns True if the first stage determines the value of a setting.
    find_missing: returns what is missing in the output folder of a finished first stage, or "".
    """

    key: str
    is_method: bool
    name: str
    unsupported: str
    duration: str
    find_fault: Callable[[str, Sequence[str], Settings], str]
    settings_for: Callable[[Path, str, Settings], Mapping[str, str]]
    determines: Callable[[str], bool] = lambda key: False
    find_missing: Callable[[Any], str] = lambda folder: ""


def _is_schedule_key(key: str) -> bool:
    return key.rpartition(".")[2].startswith(_SCHEDULE_KEYS)


def _search_fault(trainer: str, keys: Sequence[str], settings: Settings) -> str:
    if not sides_of(trainer):
        return f"the schedule of {trainer} cannot be set, so a search is not supported."
    for key in keys:
        if key.startswith(f"{BY_NAME[trainer].node}.") and _is_schedule_key(key):
            return f"{key} is set, but the search determines {key}. Remove {key} from the options."
    return ""


def _schedule_settings(folder: Path, trainer: str, settings: Settings) -> dict[str, str]:
    row = BY_NAME[trainer]
    return {f"{row.node}.SCHEDULE_{side.upper()}": f"@{folder / file.FILE_NAME}" for side in row.sides}


def _prompts_fault(trainer: str, keys: Sequence[str], settings: Settings) -> str:
    if kind_of(trainer) == HEADS:
        return ""
    return f"{trainer} is not a head, but only heads can be trained on top of prompts."


def _prompts_settings(folder: Path, trainer: str, settings: Settings) -> dict[str, str]:
    return {f"{BY_NAME[trainer].node}.{_PROMPTS_FROM}": str(folder)}


def _teacher_keys(trainer: str, settings: Settings) -> list[str]:
    """Return the keys of the teacher's checkpoint that a trainer with these settings reads."""
    has_teacher = {"TRAINER.PROMPTKD": trainer == "PromptKD", "TRAINER.KDPL": settings.get("TRAINER.KDPL.ON") == "True"}
    return [f"{node}.TEACHER_CKPT" for node, is_used in has_teacher.items() if is_used]


def _teacher_fault(trainer: str, keys: Sequence[str], settings: Settings) -> str:
    if not _teacher_keys(trainer, settings):
        return f"{trainer} has no teacher. Use the trainer PromptKD, or a method with prompts and TRAINER.KDPL.ON True."
    for key in keys:
        if key.endswith(".TEACHER_CKPT"):
            return f"{key} is set, but the experiment trains the teacher. Remove {key} from the options."
    return ""


def _teacher_settings(folder: Path, trainer: str, settings: Settings) -> dict[str, str]:
    return dict.fromkeys(_teacher_keys(trainer, settings), str(folder))


FIRST_STAGES = {
    stage.key: stage
    for stage in (
        FirstStage(
            key=SEARCH,
            is_method=False,
            name="the search for the schedule",
            unsupported="a search for the schedule. Set the schedule in the options instead.",
            duration="a search",
            find_fault=_search_fault,
            settings_for=_schedule_settings,
            determines=_is_schedule_key,
            find_missing=file.fault,
        ),
        FirstStage(
            key="prompts_from",
            is_method=True,
            name="the training of the prompts",
            unsupported="heads on trained prompts",
            duration="the training of the prompts under a head",
            find_fault=_prompts_fault,
            settings_for=_prompts_settings,
        ),
        FirstStage(
            key="teacher_from",
            is_method=True,
            name="the training of the teacher",
            unsupported="the training of teachers. Set TEACHER_CKPT to a checkpoint instead.",
            duration="the training of its teacher",
            find_fault=_teacher_fault,
            settings_for=_teacher_settings,
            determines=lambda key: key.endswith(".TEACHER_CKPT"),
        ),
    )
}
