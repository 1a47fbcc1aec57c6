"""Checks of single settings and of names that a user gives; messages begin with the setting's name."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

from modprompt.errors import SettingError

RENAMED = {  # flags, settings and keys of experiment files that had another name before version 0.3.0
    "--its-dassl": "--host-dassl",
    "--present": "--skip-missing-data",
    "--one-line": "--compact",
    "--cold": "--no-fork",
    "INPUT.READ_AS": "INPUT.DECODING",  # with the values dassl and photo for family and people
    "ACTIVE.ASK": "ACTIVE.MANUAL_LABELS",
    "together": "joint_test",
    "chosen": "hyperparameters",
}
_ROOM = 250  # characters of a list of names: a message may have two of them


def at_least(name: str, value: float, least: float) -> None:
    """Raise SettingError unless value >= least."""
    if value < least:
        raise SettingError([(name, f" must be at least {least}, got {value}")])


def at_most(name: str, value: float, most: float) -> None:
    """Raise SettingError unless value <= most."""
    if value > most:
        raise SettingError([(name, f" must be at most {most}, got {value}")])


def one_of(name: str, value: Any, allowed: Collection[Any]) -> None:
    """Raise SettingError unless `value` is one of `allowed`."""
    if value not in allowed:
        shown = ", ".join(str(one) or '""' for one in allowed)
        raise SettingError([(name, f" must be one of {shown}, got {value!r}")])


def renamed(name: str, known: Collection[str]) -> str:
    """Return the hint after an old name whose new name is known; empty for any other name."""
    return f". Use the new name {RENAMED[name]}." if RENAMED.get(name) in known else ""


def nearest(name: str, known: Sequence[str], cutoff: float = 0.5) -> str:
    """Return the sentence after an unknown name, with the full stop before it: the name's new name if it was renamed,
    else the nearest known name; else ""."""
    if hint := renamed(name, known):
        return hint
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=cutoff)
    return f". Did you mean {folded[near[0]]!r}?" if near else ""


def known_names(name: str, known: Sequence[str]) -> str:
    """Return the sentences after an unknown name, with the full stop before them: the nearest known name, and as many
    names as fit into a message."""
    shown = sorted(known)
    while len(", ".join(shown)) > _ROOM:
        shown.pop()
    more = f" and {len(known) - len(shown)} more" if len(shown) < len(known) else ""
    return f"{nearest(name, known) or '.'} Available: {', '.join(shown)}{more}."


def some(texts: Sequence[str], most: int = 5) -> str:
    """The first of several texts, and how many more there are."""
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 image", "2 images", "3 classes"; `plural` is for nouns like "entry"."""
    return f"{number} {noun if number == 1 else plural or noun + ('es' if noun.endswith('s') else 's')}"


def check_name(name: str, known: Sequence[str], setting: str, noun: str = "name") -> None:
    """Raise SettingError unless `name` is known; the nearest one is proposed. `noun` says what the names name."""
    if name in known:
        return
    what = f"unknown {noun} {name!r}" if name else f"the {noun} is missing"
    raise SettingError([(setting, f": {what}{known_names(name, known)}")])
