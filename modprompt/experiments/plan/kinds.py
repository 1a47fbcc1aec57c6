"""Facts about a trainer by its name: the one place where experiments ask."""

from __future__ import annotations

from collections.abc import Mapping

from modprompt.experiments.plan.stages import STAGES
from modprompt.methods.table import BY_NAME, HEADS, PROMPTS, ZERO_SHOT, Row, kind_of

# headings of a report, in order: kinds of methods, and those on top of what another method trained
ON_PROMPTS = next(one for one in STAGES if one.group)
GROUPS = ("", PROMPTS, HEADS, ON_PROMPTS.group)
PLAIN = next(name for name, row in BY_NAME.items() if row.kind == ZERO_SHOT)  # the trainer of zero-shot CLIP
_OFF = ("", "False", "0", "None")  # how empty settings are written


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; true for one that is not ours."""
    return kind_of(trainer) != ZERO_SHOT


def tests_apart(trainer: str) -> bool:
    """Whether a trainer trains on all classes, and one run of it tests base and new ones each among their own."""
    return trainer in BY_NAME and BY_NAME[trainer].apart


def binds(trainer: str, settings: Mapping[str, str]) -> bool:
    """Whether what a trainer learns under these settings belongs to its classes; false for one that is not ours.

    Args:
        trainer: its name.
        settings: as text, by dotted key; missing ones are empty.
    """
    row = BY_NAME.get(trainer)
    if row is None or not row.bound:
        return False
    return all((_setting(row, key, settings) not in _OFF) == is_set for key, is_set in row.bound.items())


def unused(trainer: str, settings: Mapping[str, str]) -> str:
    """A note that what would bind a trainer to its classes has no effect because of another setting; else empty."""
    row = BY_NAME.get(trainer)
    given = [] if row is None else [key for key in row.bound if _setting(row, key, settings) not in _OFF]
    if row is None or len(given) < 2:
        return ""
    asked, *against = sorted(given, key=lambda key: not row.bound[key])
    if not row.bound[asked] or row.bound[against[0]]:
        return ""
    return f"{asked} is not used with {against[0]}: the row is that of {trainer} without it"


def _setting(row: Row, key: str, settings: Mapping[str, str]) -> str:
    """A setting of a method; if not given, from the node that its repository has it in."""
    return settings.get(f"{row.node}.{key}") or settings.get(f"{row.shared}.{key}", "")


def group_of(trainer: str, options: Mapping[str, str], has_front: bool = False) -> str:
    """The heading of a method in a report that has several; empty for zero-shot, and for one that is not ours.

    Args:
        trainer: its name.
        options: of the method, as text by dotted key.
        has_front: whether its first stage is another method.
    """
    kind = kind_of(trainer)
    if kind == ZERO_SHOT:
        return ""
    if kind != HEADS:
        return kind
    is_named = _setting(BY_NAME[trainer], ON_PROMPTS.setting, options) not in _OFF
    return ON_PROMPTS.group if has_front or is_named else kind
