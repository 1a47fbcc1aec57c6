"""Class names as people write them: which class is meant, or what is wrong."""

from __future__ import annotations

import difflib
import unicodedata
from typing import Iterable, Sequence

from modprompt.storage.opening import Refused

_MOST_NAMED = 10


def folded(name: str) -> str:
    """What a name has in common with its other spellings: case, underscores and slashes as spaces."""
    plain = unicodedata.normalize("NFC", name).casefold()
    return " ".join(plain.replace("_", " ").replace("/", " ").split())


def distinct(names: Sequence[str]) -> list[str]:
    """The names by label, those of several classes with the label behind them."""
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    return [f"{name} ({label})" if name in repeated else name for label, name in enumerate(names)]


class ClassNames:
    """The classes of a data set by name.

    Args:
        names: by label. Some data sets have a name twice; it is then written with its label, as `distinct` has it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = distinct(names)
        self._exact = {name: label for label, name in enumerate(self.names)}
        self._folded: dict[str, list[int]] = {}
        for label, name in enumerate(self.names):
            self._folded.setdefault(folded(name), []).append(label)
        self._repeated = {name for name, shown in zip(names, self.names) if name != shown}

    def find(self, readings: Iterable[str]) -> int:
        """The label of a class.

        Args:
            readings: what may be written there, likeliest first. A name counts as it is, else without regard to case,
                underscores and slashes if that means one class.

        Raises:
            Refused: if there is no such class, or more than one.
        """
        texts = list(readings)
        for text in texts:
            if text in self._exact:
                return self._exact[text]
        for text in texts:
            if text in self._repeated:
                meant = [shown for shown in self.names if shown.rpartition(" (")[0] == text]
                raise Refused(f"{text!r} is the name of {len(meant)} classes: write {' or '.join(map(repr, meant))}")
            labels = self._folded.get(folded(text), [])
            if len(labels) == 1:
                return labels[0]
            if labels:
                meant = [self.names[label] for label in labels]
                raise Refused(f"{text!r} may be {' or '.join(map(repr, meant))}: write it as it is there")
        raise Refused(f"there is no class {texts[0][:80]!r}{self._hint(texts[0])}")

    def _hint(self, text: str) -> str:
        near = difflib.get_close_matches(folded(text), list(self._folded), n=1, cutoff=0.5)
        if near:
            return f"; did you mean {self.names[self._folded[near[0]][0]]!r}?"
        more = f" and {len(self.names) - _MOST_NAMED} more" if len(self.names) > _MOST_NAMED else ""
        return f" (known: {', '.join(self.names[:_MOST_NAMED])}{more})"
