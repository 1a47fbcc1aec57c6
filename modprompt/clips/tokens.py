"""Names as words, and texts as the tokens of CLIP."""

from typing import List

from modprompt.clips.package import import_clip
from modprompt.errors import UserError
from modprompt.storage.text import is_text


def readable(text: str) -> str:
    """A class name or CTX_INIT as words: "_" reads as a space."""
    return text.replace("_", " ").strip()


def token_ids(text: str) -> List[int]:
    """Tokens of a text, without the start and end tokens.

    Raises:
        UserError: if it is no UTF-8 text, as words of a command line are to a Python that takes them for ASCII.
    """
    if not is_text(text):
        raise UserError(f"{text!r} is no UTF-8 text: start Python with PYTHONUTF8=1, or in a UTF-8 locale")
    ids: List[int] = import_clip()._tokenizer.encode(text)
    return ids
