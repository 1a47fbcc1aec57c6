"""A part of an experiment file: values by key, and messages that begin with the file and the place in it."""

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
    """The faults that are found in a file, to be reported together."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the UserError that ends the block, if any, and go on after the block."""
        try:
            yield
        except UserError as error:
            self.texts.append(str(error))

    def value(self, read: Callable[[], T], default: T) -> T:
        """Return what a function reads; after a fault, which is kept, the default."""
        with self.collected():
            return read()
        return default

    def complain(self) -> None:
        """Raise UserError with all faults, if there are any."""
        if self.texts:
            raise UserError(" ".join(dict.fromkeys(self.texts)))


class Part:
    """KEY: VALUE pairs at a place of a file. Everything here raises UserError for a value that is not as it should be.

    Args:
        path: the file.
        content: the pairs.
        place: where in the file they are, for messages; empty for all of it.
    """

    def __init__(self, path: Path, content: Any, place: str = "") -> None:
        self.path, self.place = path, place
        if not isinstance(content, dict):
            raise self.fault("", f"KEY: VALUE pairs are expected, got {content!r}")
        self.content = {str(key): value for key, value in content.items()}

    @classmethod
    def of_file(cls, path: Path) -> Part:
        """All pairs of a YAML file."""
        try:
            content = read_yaml(path, once=True)
        except ValueError as error:
            raise UserError(f"{path} is not valid YAML ({str(error)[:120]}).") from None
        return cls(path, content)

    def fault(self, key: str, what: str) -> UserError:
        """The error for what is wrong with the value of a key; empty for all of them."""
        what = what if what.endswith((".", "?", "!")) else f"{what}."
        return UserError(": ".join(filter(None, [str(self.path), self.place, key, what])))

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it is."""
        return self.content.get(key, default)

    def below(self, key: str) -> Part:
        """The pairs that are a key's value; none for a missing or empty one."""
        return Part(self.path, self.get(key) or {}, ": ".join(filter(None, [self.place, key])))

    def parts(self) -> Iterator[tuple[str, Part]]:
        """The pairs of every key."""
        return ((key, Part(self.path, value, f"{self.place}: {key}")) for key, value in self.content.items())

    def require_known(self, keys: Sequence[str]) -> None:
        """Raise UserError that names all other keys, if there are any."""
        faults = Faults()
        for key in self.content:
            with faults.collected():
                if key not in keys:
                    raise self.fault("", f"unknown key {key!r}" + known_names(key, keys))
        faults.complain()

    def require(self, key: str) -> Any:
        """The value of a key that must have one."""
        if self.get(key) in (None, "", [], {}):
            raise self.fault("", f"the key {key} is missing")
        return self.content[key]

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """One of some words, by default the first."""
        word = self.get(key, known[0])
        if word not in known:
            raise self.fault(key, f"unknown value {word!r}" + known_names(str(word), known))
        return str(word)

    def names(self, key: str, known: Sequence[str] = ()) -> tuple[str, ...]:
        """A word or a list of different words, of the known ones if there are some."""
        value = self.require(key)
        words = tuple(str(word) for word in (value if isinstance(value, list) else [value]))
        if len(set(words)) < len(words):
            raise self.fault(key, f"a name occurs twice in {', '.join(words)}")
        for word in words if known else ():
            if word not in known:
                raise self.fault(key, f"unknown name {word!r}" + known_names(word, known))
        return words

    def numbers(self, key: str, default: Sequence[int], least: int) -> tuple[int, ...]:
        """A whole number, or a list of different ones."""
        value = self.get(key, list(default))
        numbers = value if isinstance(value, list) else [value]
        whole = numbers and all(_is_whole(one, least) for one in numbers)
        if not whole or len(set(numbers)) < len(numbers):
            raise self.fault(key, f"different whole numbers from {least} up to {MOST:,} are expected, got {value!r}")
        return tuple(numbers)

    def number(self, key: str, default: int, least: int) -> int:
        """A whole number."""
        value = self.get(key, default)
        if not _is_whole(value, least):
            raise self.fault(key, f"a whole number from {least} up to {MOST:,} is expected, got {value!r}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, f"true or false is expected, got {value!r}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Words, without blanks at their ends."""
        return str(self.get(key) or default).strip()


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST
