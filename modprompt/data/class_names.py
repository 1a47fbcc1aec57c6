"""Class names as people and spreadsheets write them: which class is meant, or what is wrong."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from modprompt.checks import counted, nearest, some
from modprompt.errors import UserError
from modprompt.io.files import Refused, of_user, read_text


def folded(name: str) -> str:
    """What all spellings of a name share: without case, with underscores and slashes as spaces."""
    plain = unicodedata.normalize("NFC", name).casefold()
    return " ".join(re.sub(r"[_/]", " ", plain).split())


def _spellings(name: str) -> list[str]:
    """Keys by which other spellings of a name are found; for a number also without leading zeros (007, 7)."""
    number = re.fullmatch(r"0*([0-9]+)", name)
    return [folded(name), *([f"number\n{number.group(1)}"] if number else [])]


def distinct(names: Sequence[str]) -> list[str]:
    """The names by label; one that several classes have is followed by the label."""
    counts = Counter(names)
    return [f"{name} ({label})" if counts[name] > 1 else name for label, name in enumerate(names)]


def of_words(words: Sequence[str]) -> list[str]:
    """The names that the words of --classes give, for @FILE its lines that are not blank; UserError if no classes."""
    names: list[str] = []
    for word in words:
        try:
            lines = read_text(of_user(word[1:])).splitlines() if word.startswith("@") else [word]
        except FileNotFoundError:
            raise UserError(f"--classes {word}: the file {word[1:]} does not exist. Check the path.") from None
        names += [line.strip() for line in lines if line.strip()]
    twice = next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else ""
    if twice:
        raise UserError(f"--classes lists the class {twice!r} twice. Remove the duplicate.")
    if len(names) < 2:
        raise UserError(
            f"--classes lists {counted(len(names), 'class name')}, but a classifier needs at least 2. "
            "Add class names to --classes."
        )
    return names


class ClassNames:
    """The classes of a data set by name.

    Args:
        names: by label. Some data sets have a name twice; it is then written with its label, as `distinct` does.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = distinct(names)
        self._exact = {name: label for label, name in enumerate(self.names)}
        self._spelt: dict[str, list[int]] = {}
        for label, both in enumerate(zip(names, self.names)):
            for spelling in {spelling for name in both for spelling in _spellings(name)}:
                self._spelt.setdefault(spelling, []).append(label)

    def find(self, readings: Iterable[str]) -> int:
        """The label of a class.

        Args:
            readings: what may be written there, likeliest first. A name counts as it is, else without regard to case,
                underscores, slashes and leading zeros of a number, if that leaves one class.

        Raises:
            Refused: if there is no such class, or more than one.
        """
        texts = list(readings)
        for text in texts:
            if text in self._exact:
                return self._exact[text]
        for text in texts:
            labels = next((self._spelt[key] for key in _spellings(text) if key in self._spelt), [])
            if len(labels) == 1:
                return labels[0]
            if labels:
                known = " or ".join(repr(self.names[label]) for label in labels)
                raise Refused(f"the class name {text!r} is ambiguous. Use {known}.")
        hint = nearest(texts[0], self.names) or f". Available classes: {some(self.names, 10)}."
        raise Refused(f"unknown class {texts[0][:80]!r}{hint}")
