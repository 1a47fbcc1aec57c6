"""What makes token ids of words: CLIP's byte pairs, or the tokenizer that a CLIP's own files are.

Shapes: L ids of a text.
"""

from typing import Any, Dict, List, NamedTuple, Protocol

from modprompt.clip.package import import_clip
from modprompt.errors import UserError
from modprompt.io.text import is_text


class TokenizerFacts(NamedTuple):
    """What tells one tokenizer from another; a CLIP is not run with another than its own.

    name: "clip" for CLIP's byte pairs, else the kind ("siglip", "bert", ...).
    sha256: of its files; empty for CLIP's, which ships with the package.
    length: ids of a text, L.
    padding, end: ids.
    cleaning: what is done to a text before: "lower", "canonicalize" or "whitespace".
    """

    name: str
    sha256: str
    length: int
    padding: int
    end: int
    cleaning: str

    def as_record(self) -> Dict[str, Any]:
        """Plain values for a file."""
        return self._asdict()


class TooLong(Exception):
    """A text has more tokens than fit; `count` of them, with start and end tokens."""

    def __init__(self, count: int):
        super().__init__(count)
        self.count = count


class Tokenizer(Protocol):
    """Makes ids of texts."""

    facts: TokenizerFacts

    def words(self, text: str) -> List[int]:
        """Ids of the words of a text, without start, end and padding.

        Raises:
            UserError: if it is no UTF-8 text.
        """

    def row(self, text: str) -> List[int]:
        """All L ids of a text: start (where there is one), words, end, padding. Nothing is cut off.

        Raises:
            TooLong: if they are more than L.
            UserError: if it is no UTF-8 text.
        """
