"""Parts of a YAML file of experiments, read and checked: every message begins with the file and the place in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.io.records import read_yaml

R = TypeVar("R", bound="Reader")
MOST = 2**32 - 1  # the largest seed that NumPy accepts


class Reader:
    """Reads values of one file.

    Args:
        path: the file.
        part: the place of the part that is read, for messages; empty for the whole file.
    """

    def __init__(self, path: Path, part: str = ""):
        self.path, self.part = path, part

    def within(self: R, part: str) -> R:
        """A reader of a part of the same file."""
        return type(self)(self.path, part)

    def fault(self, place: str, what: str) -> UserError:
        """The error for what is wrong at a place."""
        place = ": ".join(filter(None, [self.part, place]))
        return UserError(f"{self.path}: {place}: {what}" if place else f"{self.path}: {what}")

    def content(self) -> dict[str, Any]:
        """All of the file.

        Raises:
            UserError: if it is not YAML of KEY: VALUE pairs; the same for all below.
        """
        try:
            content = read_yaml(self.path, once=True)
        except ValueError as error:
            raise self.fault("", f"is not usable YAML ({str(error)[:120]})") from None
        return self.mapping(content, "")

    def mapping(self, value: Any, place: str) -> dict[str, Any]:
        """KEY: VALUE pairs."""
        if not isinstance(value, dict):
            raise self.fault(place, f"KEY: VALUE pairs are expected, got {value!r}")
        return {str(key): item for key, item in value.items()}

    def known(self, content: Mapping[str, Any], keys: Sequence[str], place: str) -> None:
        """Raise UserError on an unknown key."""
        for key in content:
            if key not in keys:
                raise self.fault(place, f"there is no key {key!r}" + known_names(key, keys))

    def needed(self, content: Mapping[str, Any], key: str, place: str) -> Any:
        """The value of a key that must have one."""
        if content.get(key) in (None, "", [], {}):
            raise self.fault(place, f"{key} is missing")
        return content[key]

    def names(self, value: Any, place: str) -> tuple[str, ...]:
        """A word or a list of different words."""
        words = tuple(str(word) for word in (value if isinstance(value, list) else [value]))
        if not words:
            raise self.fault(place, "a name or a list of names is expected, got []")
        if len(set(words)) < len(words):
            raise self.fault(place, f"a name occurs twice in {', '.join(words)}")
        return words

    def numbers(self, value: Any, place: str, least: int) -> tuple[int, ...]:
        """A whole number, or a list of different ones, from `least` up."""
        numbers = value if isinstance(value, list) else [value]
        wrong = [n for n in numbers if isinstance(n, bool) or not isinstance(n, int) or n < least]
        if wrong or not numbers or len(set(numbers)) < len(numbers):
            raise self.fault(place, f"different whole numbers from {least} up are expected, got {value!r}")
        self._require_at_most(max(numbers), place, MOST)
        return tuple(numbers)

    def number(self, value: Any, place: str, least: int, most: int = MOST) -> int:
        """One whole number, from `least` to `most`."""
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.fault(place, f"a whole number from {least} up is expected, got {value!r}")
        self._require_at_most(value, place, most)
        return value

    def _require_at_most(self, value: int, place: str, most: int) -> None:
        if value > most:
            raise self.fault(place, f"at most {most:,}, got {value}")

    def flag(self, value: Any, place: str) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.fault(place, f"true or false is expected, got {value!r}")
        return value
