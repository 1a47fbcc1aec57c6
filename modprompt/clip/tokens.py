"""Class names that a CLIP cannot tell apart, and words that it was never trained on.

The embedded model knows few words, and all others are the same to it.
"""

import warnings
from collections.abc import Sequence

from torch import Tensor

from modprompt.checks import some
from modprompt.clip.read import read_embedded
from modprompt.clip.tokenizers import CLIP_BPE, ClipTokenizer, Tokenizer
from modprompt.clip.towers import CLIP, has_stock_text, token_table, tokenizer_of
from modprompt.errors import UserError

_CLIPS = ClipTokenizer()
_UNKNOWN = -1
_Tokens = tuple[int, ...]


def readable(text: str) -> str:
    """A class name or CTX_INIT as words: "_" is read as a space."""
    return text.replace("_", " ").strip()


def _by_tokens(names: Sequence[str], tokenizer: Tokenizer) -> dict[_Tokens, list[int]]:
    """The labels of names that share their tokens, by these; other names are left out."""
    found: dict[_Tokens, list[int]] = {}
    for label, name in enumerate(names):
        found.setdefault(tuple(tokenizer.words(readable(name))), []).append(label)
    return {tokens: labels for tokens, labels in found.items() if len(labels) > 1}


def require_distinct_names(
    names: Sequence[str], listed: bool = False, known: Sequence[str] = (), tokenizer: Tokenizer = _CLIPS
) -> None:
    """Look for class names that are the same to a CLIP: most ignore capitals, and all read "_" as a space.

    Raises UserError if there are any, since nothing tells their classes apart; but only warns of those in a list that
    is published or a run's (`listed`), and among names that were checked before (`known`).
    """
    same = _by_tokens(names, tokenizer)
    passed = _by_tokens(known, tokenizer) if same and not listed else {}
    for tokens, labels in same.items():
        if not listed and tokens not in passed:
            one, other = (names[label] for label in labels[:2])
            if one == other:
                raise UserError(
                    f"The class {one!r} is listed twice. Remove the duplicate, or rename one of the two classes."
                )
            of_clip = tokenizer.facts.name == CLIP_BPE
            why = (
                "CLIP, which ignores capital letters and reads _ as a space"
                if of_clip
                else "the tokenizer of this CLIP model"
            )
            raise UserError(
                f"The class names {one!r} and {other!r} become the same text for {why}. Rename one of the two classes."
            )
    if same:
        groups = [f"{names[labels[0]]!r} ({', '.join(map(str, labels))})" for labels in same.values()]
        warnings.warn(
            f"Several class names become the same text for CLIP: {some(groups, 10)} (the labels are in parentheses). "
            "Only methods that learn parameters for each class can distinguish these classes.",
            stacklevel=3,
        )


def _known_tokens(name: str, table: Tensor, tokenizer: Tokenizer = _CLIPS) -> _Tokens:
    """Tokens of a class name, _UNKNOWN in place of those whose embedding, a row of the table, is zero."""
    tokens = tokenizer.words(readable(name))
    return tuple(token if bool(table[token].detach().any()) else _UNKNOWN for token in tokens)


def unknown_words(names: Sequence[str]) -> list[str]:
    """Words of class names that the embedded CLIP was never trained on, each once."""
    table = read_embedded()["token_embedding.weight"]
    words = dict.fromkeys(word for name in names for word in readable(name).split())
    return [word for word in words if _UNKNOWN in _known_tokens(word, table)]


def require_known_words(names: Sequence[str], clip_model: CLIP) -> None:
    """Warn of class names with words that a CLIP has never seen; a text tower does not show which these are.

    Raises UserError if two different names are the same to it: predictions between them would mean nothing.
    """
    if not has_stock_text(clip_model):
        return
    first: dict[_Tokens, str] = {}
    strange = []
    for name in names:
        tokens = _known_tokens(name, token_table(clip_model).weight, tokenizer_of(clip_model))
        if _UNKNOWN not in tokens:
            continue
        strange.append(repr(name))
        other = first.setdefault(tokens, name)
        if readable(other).lower() != readable(name).lower():
            raise UserError(
                f"This CLIP model was never trained on the words of {other!r} and {name!r}, so it cannot distinguish "
                "the two classes. Use other class names, or a CLIP model that knows these words (for example, "
                "--backbone ViT-B/16)."
            )
    if strange:
        warnings.warn(
            f"Some words of {some(strange)} did not occur in the training data of this CLIP model, so these words "
            "have no effect.",
            stacklevel=2,
        )
