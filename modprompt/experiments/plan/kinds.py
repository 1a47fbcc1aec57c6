"""What is known of a trainer by its name: the one place where experiments ask."""

from __future__ import annotations

from typing import Mapping

from modprompt.feature import features, of_kind
from modprompt.methods.table import BY_NAME, PROMPTS, ZERO_SHOT, Row, kind_of

# of a report, in its order: kinds of methods, and of a feature's those that stand on what another method has trained
GROUPS = ("", PROMPTS, *(group for one in features() if one.kind for group in (one.kind, one.stage.group)))
ON_ANOTHER = {one.stage.group for one in features()} - {""}
PLAIN = next(name for name, row in BY_NAME.items() if row.kind == ZERO_SHOT)  # the trainer of zero-shot CLIP
_OFF = ("", "False", "0", "None")  # how settings that are empty are written


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; one that is not ours has."""
    return kind_of(trainer) != ZERO_SHOT


def tests_apart(trainer: str) -> bool:
    """Whether a trainer trains on all classes, and one run of it tests base and new ones each among their own."""
    return trainer in BY_NAME and BY_NAME[trainer].apart


def binds(trainer: str, settings: Mapping[str, str]) -> bool:
    """Whether what a trainer learns under these settings belongs to its classes; of one that is not ours nobody knows.

    Args:
        trainer: its name.
        settings: as text, by dotted key; those that are not there are empty.
    """
    row = BY_NAME.get(trainer)
    if row is None or not row.bound:
        return False
    return all((_setting(row, key, settings) not in _OFF) == is_set for key, is_set in row.bound.items())


def unused(trainer: str, settings: Mapping[str, str]) -> str:
    """That what would bind a trainer to its classes has no say beside another setting; empty where it has."""
    row = BY_NAME.get(trainer)
    given = [] if row is None else [key for key in row.bound if _setting(row, key, settings) not in _OFF]
    if row is None or len(given) < 2:
        return ""
    asked, *against = sorted(given, key=lambda key: not row.bound[key])
    if not row.bound[asked] or row.bound[against[0]]:
        return ""
    return f"{asked} is not used beside {against[0]}: the row is that of {trainer} without it"


def _setting(row: Row, key: str, settings: Mapping[str, str]) -> str:
    """A setting of a method; where it is not given, of the node that its repository has it in."""
    return settings.get(f"{row.node}.{key}") or settings.get(f"{row.shared}.{key}", "")


def group_of(trainer: str, options: Mapping[str, str], has_front: bool = False) -> str:
    """Under which heading a method stands where a report has several; empty for zero-shot, and one that is not ours.

    Args:
        trainer: its name.
        options: of the method, as text by dotted key.
        has_front: whether its first stage is another method.
    """
    kind = kind_of(trainer)
    if kind == ZERO_SHOT:
        return ""
    stage = of_kind(kind).stage
    is_named = stage.setting and _setting(BY_NAME[trainer], stage.setting, options) not in _OFF
    return stage.group if (has_front and stage.group) or is_named else kind
