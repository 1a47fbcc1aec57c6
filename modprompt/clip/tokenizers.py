"""From words to token ids: CLIP's byte pairs, or the tokenizer in a CLIP's own files.

Shapes: L ids of a text.
"""

from typing import Any, NamedTuple, Protocol

from modprompt.clip.package import import_clip
from modprompt.errors import UserError
from modprompt.io.text import is_text


class TokenizerFacts(NamedTuple):
    """What tells one tokenizer from another; a CLIP only runs with its own."""

    name: str  # "clip" for CLIP's byte pairs, else the kind ("siglip", "bert", ...)
    sha256: str  # of its files; empty for CLIP's, which ships with the package
    length: int  # ids of a text, L
    padding: int  # an id, as `end`
    end: int
    cleaning: str  # what is done to a text first: "lower", "canonicalize" or "whitespace"

    def as_record(self) -> dict[str, Any]:
        """Plain values for a file."""
        return self._asdict()


CLIP_BPE = "clip"  # the name of CLIP's byte pairs
_LENGTH = 77
_END_OF_WORD = "</w>"


class TooLong(Exception):
    """A text has too many tokens, start and end included."""


class Tokenizer(Protocol):
    """From texts to ids."""

    @property
    def facts(self) -> TokenizerFacts:
        """What tells it from others."""

    def words(self, text: str) -> list[int]:
        """Ids of the words of a text, without start, end and padding; UserError if it is not valid UTF-8."""

    def row(self, text: str) -> list[int]:
        """All L ids of a text: start (if there is one), words, end, padding. Nothing is cut off.

        Raises TooLong if they are more than L, and as words.
        """

    def word(self, number: int) -> str:
        """What an id stands for, readable; empty for none."""


def require_text(text: str) -> None:
    """Raise UserError if a text is not valid UTF-8."""
    if not is_text(text):
        raise UserError(f"{text!r} is not UTF-8 text: start Python with PYTHONUTF8=1, or in a UTF-8 locale")


class ClipTokenizer:
    """CLIP's byte pairs, which the `clip` package has; `length` ids of a text."""

    def __init__(self, length: int = _LENGTH):
        self._length = length

    @property
    def facts(self) -> TokenizerFacts:
        """What it is."""
        return TokenizerFacts(CLIP_BPE, "", self._length, 0, self._special("end"), "lower")

    def words(self, text: str) -> list[int]:
        """Ids of the words of a text; as Tokenizer."""
        require_text(text)
        ids: list[int] = import_clip()._tokenizer.encode(text)
        return ids

    def row(self, text: str) -> list[int]:
        """All ids of a text; as Tokenizer."""
        ids = [self._special("start"), *self.words(text), self._special("end")]
        if len(ids) > self._length:
            raise TooLong
        return ids + [0] * (self._length - len(ids))

    def word(self, number: int) -> str:
        """The word of an id, or "part-" for a part of one; as Tokenizer."""
        tokenizer = import_clip()._tokenizer
        word: str = tokenizer.decoder.get(number, "")
        if not word or word.startswith("<|"):
            return word
        whole = word.endswith(_END_OF_WORD)
        letters = word[: -len(_END_OF_WORD)] if whole else word
        text = bytes(tokenizer.byte_decoder[letter] for letter in letters).decode("utf-8", errors="replace")
        return text if whole else text + "-"

    @staticmethod
    def _special(which: str) -> int:
        return int(import_clip()._tokenizer.encoder[f"<|{which}oftext|>"])
