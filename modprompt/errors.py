"""Exceptions for what a user can correct: their message is one line that says what is wrong, where, what to do."""

import re
from collections.abc import Sequence
from typing import Any

_LONG_WORD = re.compile(r"\S{301,}")  # a path may have 300 characters
_MOST = 6000  # characters: instructions for a data set, every fault of many settings


class UserError(ValueError):
    """A wrong setting, file or argument. Programs only print the message and exit with code 2."""

    kind = "error"  # printed before the message
    exit_code = 2

    def __str__(self) -> str:
        """The message, without the middle of very long words and what is beyond 6000 characters."""
        text = _LONG_WORD.sub(lambda word: f"{word[0][:200]} [...] {word[0][-80:]}", super().__str__())
        return text if len(text) <= _MOST else f"{text[:_MOST]} [...]"


class WaitsForLabels(UserError):
    """A run that cannot go on until somebody has labelled images; nothing is wrong."""

    kind = "waiting"
    exit_code = 3


class OutOfMemory(UserError):
    """More memory was needed than there is, or than this process may use of a shared GPU."""

    exit_code = 4


class SettingError(UserError):
    """Faults of settings: (name, text after it) of each, whose sentences make up the message."""

    def __init__(self, faults: Sequence[tuple[str, str]]):
        self.faults = tuple(faults)
        texts = [name + text for name, text in self.faults]
        super().__init__(" ".join(text if text.endswith((".", "?", "!", ")")) else f"{text}." for text in texts))

    def __reduce__(self) -> tuple[Any, ...]:
        return SettingError, (self.faults,)

    def under(self, node: str) -> "SettingError":
        """The same with full names: N_CTX becomes TRAINER.COOP.N_CTX; dotted names are full already."""
        return SettingError([(name if "." in name else f"{node}.{name}", text) for name, text in self.faults])
