"""Words that a CLIP was never trained on: the embedded model knows few, and what it does not know is all one to it."""

import warnings
from typing import Dict, List, Sequence, Tuple

from torch import Tensor

from modprompt.clips.reading import read_embedded
from modprompt.clips.structure import CLIP
from modprompt.clips.tokens import readable, token_ids
from modprompt.errors import UserError

_UNKNOWN = -1
_MOST_NAMED = 5


def _known_tokens(name: str, table: Tensor) -> Tuple[int, ...]:
    """Tokens of a class name, _UNKNOWN in place of those whose embedding, a row of the table, is zero."""
    return tuple(token if bool(table[token].detach().any()) else _UNKNOWN for token in token_ids(readable(name)))


def unknown_words(names: Sequence[str]) -> List[str]:
    """Words of class names that the embedded CLIP was never trained on, each once."""
    table = read_embedded()["token_embedding.weight"]
    words = dict.fromkeys(word for name in names for word in readable(name).split())
    return [word for word in words if _UNKNOWN in _known_tokens(word, table)]


def require_known_words(names: Sequence[str], clip_model: CLIP) -> None:
    """Warn of class names with words that a CLIP has never seen.

    Raises:
        UserError: if two different names are the same to it: no prediction between them means anything.
    """
    first: Dict[Tuple[int, ...], str] = {}
    strange = []
    for name in names:
        tokens = _known_tokens(name, clip_model.token_embedding.weight)
        if _UNKNOWN not in tokens:
            continue
        strange.append(name)
        other = first.setdefault(tokens, name)
        if readable(other).lower() != readable(name).lower():
            raise UserError(
                f"this CLIP has never seen the words of {other!r} and {name!r}, so both are the same to it: "
                "take a CLIP that knows them, e.g. MODEL.BACKBONE.NAME ViT-B/16"
            )
    if strange:
        more = f" and {len(strange) - _MOST_NAMED} more" if len(strange) > _MOST_NAMED else ""
        named = ", ".join(map(repr, strange[:_MOST_NAMED]))
        warnings.warn(f"this CLIP has never seen words of {named}{more}: they mean nothing to it", stacklevel=2)
