"""Words that a CLIP was never trained on: the embedded model knows few, and what it does not know is all one to it."""

import warnings
from typing import Dict, Sequence, Tuple

from modprompt.clips.structure import CLIP
from modprompt.clips.tokens import readable, token_ids
from modprompt.errors import UserError

_UNKNOWN = -1
_MOST_NAMED = 5


def _known_tokens(name: str, clip_model: CLIP) -> Tuple[int, ...]:
    """Tokens of a class name, _UNKNOWN in place of those whose embedding is zero."""
    table = clip_model.token_embedding.weight
    return tuple(token if bool(table[token].detach().any()) else _UNKNOWN for token in token_ids(readable(name)))


def require_known_words(names: Sequence[str], clip_model: CLIP) -> None:
    """Warn of class names with words that a CLIP has never seen.

    Raises:
        UserError: if two different names are the same to it: no prediction between them means anything.
    """
    first: Dict[Tuple[int, ...], str] = {}
    strange = []
    for name in names:
        tokens = _known_tokens(name, clip_model)
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
