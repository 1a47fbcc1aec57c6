"""Checks for class names that a CLIP model cannot distinguish, and for words on which it was never trained.

The bundled model knows few words, and cannot distinguish other words.
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
    """Return a class name or CTX_INIT with spaces instead of underscores."""
    return text.replace("_", " ").strip()


def _by_tokens(names: Sequence[str], tokenizer: Tokenizer) -> dict[_Tokens, list[int]]:
    """Return the labels of class names with equal tokens, by these tokens."""
    found: dict[_Tokens, list[int]] = {}
    for label, name in enumerate(names):
        found.setdefault(tuple(tokenizer.words(readable(name))), []).append(label)
    return {tokens: labels for tokens, labels in found.items() if len(labels) > 1}


def require_distinct_names(
    names: Sequence[str], listed: bool = False, known: Sequence[str] = (), tokenizer: Tokenizer = _CLIPS
) -> None:
    """Raise UserError if a CLIP model cannot distinguish class names, for example because they differ only in case.

    For names of published class lists (`listed`) and names that were checked before (`known`), only a warning is
    printed.
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
    """Return the tokens of a class name, with _UNKNOWN for tokens whose embedding in the table is zero."""
    tokens = tokenizer.words(readable(name))
    return tuple(token if bool(table[token].detach().any()) else _UNKNOWN for token in tokens)


def unknown_words(names: Sequence[str]) -> list[str]:
    """Return the words of class names on which the bundled CLIP model was never trained."""
    table = read_embedded()["token_embedding.weight"]
    words = dict.fromkeys(word for name in names for word in readable(name).split())
    return [word for word in words if _UNKNOWN in _known_tokens(word, table)]


def require_known_words(names: Sequence[str], clip_model: CLIP) -> None:
    """Warn if class names contain words on which a CLIP model was never trained, if its embeddings show this.

    Raises:
        UserError: if the model cannot distinguish two class names because of such words.
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
