"""Hashes that state the rule they were made by, so that those of an earlier rule are still understood."""

import re
import warnings
from collections.abc import Mapping

from modprompt.errors import UserError


class Versioned(str):
    """A hash that begins with the version of its rule, "2:..."; `old` is the previous rule's, without a version."""

    old: str

    def __new__(cls, text: str, old: str = "") -> "Versioned":
        made = super().__new__(cls, text)
        made.old = old
        return made


def version_of(text: str) -> int:
    """The version that a hash begins with; 0 if there is none."""
    found = re.match(r"([1-9][0-9]{0,8}):", text)
    return int(found.group(1)) if found else 0


def plain(values: Mapping[str, str]) -> dict[str, str]:
    """Values, by name, as they are written into files: nothing but text."""
    return {name: str(value) for name, value in values.items()}


def in_version_of(recorded: str, mine: str) -> str:
    """My hash by the rule of a recorded one, for comparison; a text that is not Versioned stays as it is.

    Raises:
        UserError: if the recorded one follows a rule that is not known yet.
    """
    if not isinstance(mine, Versioned):
        return mine
    if ":" not in str(recorded):
        return mine.old or mine
    version = version_of(str(recorded))
    if version > version_of(mine) > 0:  # one of a CLIP with towers has another rule: the two differ, whatever it says
        raise UserError(f"a hash of version {version} ({recorded[:20]}) was made by a newer modprompt: update this one")
    return mine


def proves_less(recorded: str, mine: str) -> bool:
    """Whether a recorded hash follows the previous rule, which sees less than mine does."""
    return isinstance(mine, Versioned) and ":" not in str(recorded) and bool(mine.old)


def understood(recorded: Mapping[str, str], mine: Mapping[str, str], where: object) -> dict[str, str]:
    """My values, by name, in the form of recorded ones; a warning names those that follow the previous rule.

    Raises:
        UserError: as in_version_of.
    """
    for name, value in mine.items():
        if proves_less(recorded.get(name, ":"), value):
            warnings.warn(f"{where} holds {name} by an earlier rule, which proves less than today's", stacklevel=3)
    return {name: in_version_of(recorded.get(name, ":"), value) for name, value in mine.items()}
