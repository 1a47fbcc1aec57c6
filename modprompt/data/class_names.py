"""Class names as people and spreadsheets write them: which class is meant, or what is wrong."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from modprompt.checks import some
from modprompt.io.files import Refused


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
    repeated = _repeated(names)
    return [f"{name} ({label})" if name in repeated else name for label, name in enumerate(names)]


def _repeated(names: Sequence[str]) -> dict[str, list[int]]:
    """{name: its labels} of names that several classes have."""
    labels: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(name, []).append(label)
    return {name: some for name, some in labels.items() if len(some) > 1}


class ClassNames:
    """The classes of a data set by name.

    Args:
        names: by label. Some data sets have a name twice; it is then written with its label, as `distinct` does.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = distinct(names)
        self._exact = {name: label for label, name in enumerate(self.names)}
        self._spelt: dict[str, list[int]] = {}
        for label, name in enumerate(self.names):
            for spelling in _spellings(name):
                self._spelt.setdefault(spelling, []).append(label)
        self._spelt.update(_repeated(names))

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
            labels = next((self._spelt[one] for one in (text, *_spellings(text)) if one in self._spelt), [])
            if len(labels) == 1:
                return labels[0]
            if labels:
                raise Refused(
                    f"{text!r} may be {' or '.join(repr(self.names[label]) for label in labels)}: write one of these"
                )
        raise Refused(f"there is no class {texts[0][:80]!r}{self._hint(texts[0])}")

    def _hint(self, text: str) -> str:
        by_spelling = {folded(name): name for name in self.names}
        near = difflib.get_close_matches(folded(text), list(by_spelling), n=1, cutoff=0.5)
        if near:
            return f"; did you mean {by_spelling[near[0]]!r}?"
        return f" (known: {some(self.names, 10)})"
