"""Sections of an experiment file: checked values by key, and messages that name the file and the section."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.io.records import read_yaml

T = TypeVar("T")
MOST = 2**32 - 1  # the largest seed that NumPy accepts


class Faults:
    """The faults of a file, which are collected and reported together."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Run a `with` block. If the block raises UserError, keep the message and continue after the block."""
        try:
            yield
        except UserError as error:
            self.messages.append(str(error))

    def value(self, read: Callable[[], T], default: T) -> T:
        """Return the result of a function, or the default after a UserError, whose message is kept."""
        with self.collected():
            return read()
        return default

    def raise_all(self) -> None:
        """Raise UserError with all messages, if there are any."""
        if self.messages:
            raise UserError(" ".join(dict.fromkeys(self.messages)))


class Section:
    """KEY: VALUE pairs of an experiment file. All methods raise UserError for a value that is not allowed.

    Args:
        path: the file.
        content: the pairs.
        place: the position of the section in the file, such as "methods: MPL", for messages; "" for the whole file.
    """

    def __init__(self, path: Path, content: Any, place: str = "") -> None:
        self.path, self.place = path, place
        if not isinstance(content, dict):
            raise self.fault("", f"KEY: VALUE pairs are expected, got {content!r}")
        self.content = {str(key): value for key, value in content.items()}

    @classmethod
    def of_file(cls, path: Path) -> Section:
        """Return the content of a YAML file as a section."""
        try:
            content = read_yaml(path, once=True)
        except ValueError as error:
            raise UserError(f"{path} is not valid YAML ({str(error)[:120]}).") from None
        return cls(path, content)

    def fault(self, key: str, message: str) -> UserError:
        """Return an error about the value of a key, or about the whole section if the key is ""."""
        message = message if message.endswith((".", "?", "!")) else f"{message}."
        return UserError(": ".join(filter(None, [str(self.path), self.place, key, message])))

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def get(self, key: str, default: Any = None) -> Any:
        """Return the unchecked value of a key."""
        return self.content.get(key, default)

    def section(self, key: str) -> Section:
        """Return the value of a key as a section, which is empty if the key is missing."""
        return Section(self.path, self.get(key) or {}, ": ".join(filter(None, [self.place, key])))

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Yield each key with its value as a section."""
        return ((key, Section(self.path, value, f"{self.place}: {key}")) for key, value in self.content.items())

    def require_known(self, keys: Sequence[str]) -> None:
        """Raise UserError that names all keys of the section that are not among `keys`."""
        faults = Faults()
        for key in self.content:
            with faults.collected():
                if key not in keys:
                    raise self.fault("", f"unknown key {key!r}" + known_names(key, keys))
        faults.raise_all()

    def require(self, key: str) -> Any:
        """Return the value of a required key. Raise UserError if the key is missing or empty."""
        if self.get(key) in (None, "", [], {}):
            raise self.fault("", f"the key {key} is missing")
        return self.content[key]

    def choice(self, key: str, known: Sequence[str]) -> str:
        """Return a value that must be one of some words, by default the first."""
        word = self.get(key, known[0])
        if word not in known:
            raise self.fault(key, f"unknown value {word!r}" + known_names(str(word), known))
        return str(word)

    def names(self, key: str, known: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the distinct words of a word or a list of words; with `known`, no other words are allowed."""
        value = self.require(key)
        words = tuple(str(word) for word in (value if isinstance(value, list) else [value]))
        if len(set(words)) < len(words):
            raise self.fault(key, f"a name occurs twice in {', '.join(words)}")
        for word in words if known else ():
            if word not in known:
                raise self.fault(key, f"unknown name {word!r}" + known_names(word, known))
        return words

    def numbers(self, key: str, default: Sequence[int], least: int) -> tuple[int, ...]:
        """Return the distinct whole numbers, at least `least`, of a number or a list of numbers."""
        value = self.get(key, list(default))
        numbers = value if isinstance(value, list) else [value]
        are_valid = numbers and all(_is_whole(number, least) for number in numbers)
        if not are_valid or len(set(numbers)) < len(numbers):
            raise self.fault(key, f"different whole numbers from {least} up to {MOST:,} are expected, got {value!r}")
        return tuple(numbers)

    def number(self, key: str, default: int, least: int) -> int:
        """Return a whole number that is at least `least`."""
        value = self.get(key, default)
        if not _is_whole(value, least):
            raise self.fault(key, f"a whole number from {least} up to {MOST:,} is expected, got {value!r}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, f"true or false is expected, got {value!r}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a text without blanks at its ends."""
        return str(self.get(key) or default).strip()


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST
