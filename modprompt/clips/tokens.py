"""Names as words, and texts as the tokens of CLIP."""

from typing import List

from modprompt.clips.package import import_clip


def readable(text: str) -> str:
    """A class name or CTX_INIT as words: "_" reads as a space."""
    return text.replace("_", " ").strip()


def token_ids(text: str) -> List[int]:
    """Tokens of a text, without the start and end tokens."""
    ids: List[int] = import_clip()._tokenizer.encode(text)
    return ids
