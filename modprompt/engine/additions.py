"""What a layer is given: nothing; new tokens, maybe mixed or one set per class; or something with its own attention.

Shapes: C classes, n tokens, D width of the side.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.engine import text_layout
from modprompt.engine.blocks import Attend, attention
from modprompt.engine.schedule import Step
from modprompt.engine.token_updates import Mixed, New, OfClasses


class OwnAttention(Protocol):
    """An addition that decides what happens in its layer; methods/search/supernet.py has two."""

    @property
    def tokens_given(self) -> Tensor | None:
        """All of its tokens; these are cast when the type changes."""

    @property
    def joins(self) -> New:
        """The tokens that join the sequence."""

    def with_tokens(self, tokens: Tensor | None) -> Any:
        """A copy with other tokens, of the same number."""

    def step(self, scheduled: Step) -> Step:
        """What happens to the sequence before the layer; `scheduled` is the schedule's step for it."""

    def attend(self, block: Block, start: int) -> Attend:
        """What is called in place of attention; `start` is the place of the first prompt token among the keys."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Any:
        """A copy with `change` applied to each of its tensors."""


Addition = New | OwnAttention


def is_plain(addition: Addition) -> bool:
    """Whether an addition is tokens and nothing more."""
    return addition is None or isinstance(addition, (Tensor, OfClasses, Mixed))


def new_tokens(addition: Any) -> New:
    """The tokens (n, D) that join the sequence, or (C, n, D): a set for each class."""
    found: New = addition if is_plain(addition) else addition.joins
    return found


def tokens_of(addition: Any) -> Tensor | None:
    """All tokens that a layer is given."""
    found: Tensor | None
    if is_plain(addition):
        found = addition.tokens if isinstance(addition, (OfClasses, Mixed)) else addition
    else:
        found = addition.tokens_given
    return found


def with_tokens(addition: Any, tokens: Tensor | None) -> Any:
    """A copy with other tokens, of the same number."""
    if not is_plain(addition):
        return addition.with_tokens(tokens)
    of_a_kind = isinstance(addition, (OfClasses, Mixed)) and tokens is not None
    return addition._replace(tokens=tokens) if of_a_kind else tokens


def of_classes(additions: Sequence[Addition], change: Callable[[Tensor], Tensor]) -> list[Addition]:
    """The additions, with `change` applied to tokens (C, n, D) of single classes; others stay as they are."""
    return [
        with_tokens(one, change(found.tokens)) if isinstance(found, OfClasses) else one
        for one, found in zip(additions, map(new_tokens, additions))
    ]


def in_type(additions: Sequence[Addition], dtype: torch.dtype) -> list[Addition]:
    """Additions in the type of the tokens, cast all at once where kernel launches count."""
    tokens = [tokens_of(new) for new in additions]
    plain = [one for one in tokens if one is not None and one.dim() == 2 and one.dtype != dtype]
    if len(plain) < 2 or not text_layout.counts_launches(plain[0].device):
        typed = [None if one is None else one.to(dtype) for one in tokens]
    else:
        found = dict(zip(map(id, plain), torch.cat(plain).to(dtype).split([len(one) for one in plain])))
        typed = [found[id(one)] if id(one) in found else one if one is None else one.to(dtype) for one in tokens]
    return [with_tokens(new, one) for new, one in zip(additions, typed)]


def step_of(addition: Any, scheduled: Step) -> Step:
    """What happens to the sequence before a layer; `scheduled` is the schedule's step for it."""
    step: Step = scheduled if is_plain(addition) else addition.step(scheduled)
    return step


def attends(block: Block, addition: Any, start: int) -> Attend:
    """What is called in place of attention; `start` is the place of the first prompt token among the keys."""
    attend: Attend = attention if is_plain(addition) else addition.attend(block, start)
    return attend


def mapped(addition: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The addition with `change` applied to each tensor."""
    if is_plain(addition):
        tokens = tokens_of(addition)
        return with_tokens(addition, None if tokens is None else change(tokens))
    return addition.map(change)
