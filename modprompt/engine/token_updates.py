"""Which prompt tokens are removed and added before a layer: in one sequence, and in packed class prompts.

Shapes: B images, C classes, c classes of a group, P shared tokens, L tokens, D width, n new prompt tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.engine.text_layers import Packed


class OfClasses(NamedTuple):
    """New prompt tokens (C, n, D) of the text side, a set for each class; the schedule counts them as n."""

    tokens: Tensor


class Mixed(NamedTuple):
    """New prompt tokens (n, D) that are mixed with the n that they replace: weight * new + (1 - weight) * replaced.

    The schedule removes as many tokens there as it adds. MMRL++ (arXiv 2505.10088).
    """

    tokens: Tensor
    weight: float


New = Tensor | OfClasses | Mixed | None  # what joins the sequence before a layer; a tensor is (..., n, D)


class Standing(NamedTuple):
    """Where the prompt tokens of class prompts stand.

    start: place of the first: after the start token or before it.
    shared: how many are part of the shared beginning.
    own: how many come after those, among each class's own tokens.
    opened: whether new ones are put among each class's own tokens.
    """

    start: int
    shared: int
    own: int
    opened: bool


def renew(x: Tensor, start: int, present: int, remove: int, new: None | Tensor | Mixed) -> Tensor:
    """x (..., L, D) without the last `remove` of its `present` prompt tokens at `start`, then `new` (..., n, D)."""
    if not remove and new is None:
        return x
    kept = start + present - remove
    # one split, not two slices: its gradient is computed in one pass
    head, gone, tail = x.split([kept, remove, x.shape[-2] - kept - remove], dim=-2)
    if isinstance(new, Mixed):
        new = torch.lerp(gone, new.tokens.expand_as(gone), new.weight)
    parts = [head, tail] if new is None else [head, new.expand(*x.shape[:-2], -1, -1), tail]
    return torch.cat([part for part in parts if part.shape[-2]], dim=-2)


def recompose(x: Packed, at: Standing, remove: int, new: New) -> tuple[Packed, Standing]:
    """Class prompts without the last `remove` of their prompt tokens, and with new ones after the others.

    Tokens of single classes end the shared beginning: what came after them becomes each class's own. They are in the
    order of the groups.
    """
    if not at.opened and not isinstance(new, OfClasses):
        prefix = renew(x.prefix, at.start, at.shared, remove, new)
        return Packed([prefix, *x.suffixes]), at._replace(shared=at.shared - remove + _count(new))
    if not at.opened:
        x, at = _opened(x, at)
    if isinstance(new, Mixed) and remove > at.own:  # what it is mixed with is each class's own from here on
        x, at = _as_own(x, at, remove - at.own)
    from_own = min(remove, at.own)
    shared, own = at.shared - (remove - from_own), at.own - from_own + _count(new)
    prefix = x.prefix if shared == at.shared else x.prefix[:, : at.start + shared]
    first = 0 if prefix.shape[1] else at.start  # the start token stands in the prefix, if there is one
    each = _of_groups(x, new)
    suffixes = [renew(tokens, first, at.own, from_own, one) for tokens, one in zip(x.suffixes, each)]
    return Packed([prefix, *suffixes]), at._replace(shared=shared, own=own)


def _opened(x: Packed, at: Standing) -> tuple[Packed, Standing]:
    """Class prompts with the shared words after the prompt tokens moved to each class's own tokens."""
    return _cut_behind(x, at.start + at.shared), at._replace(opened=True)


def _as_own(x: Packed, at: Standing, count: int) -> tuple[Packed, Standing]:
    """Class prompts with the last `count` shared prompt tokens moved to each class's own tokens."""
    shared = at.shared - count
    return _cut_behind(x, at.start + shared), at._replace(shared=shared, own=at.own + count)


def _cut_behind(x: Packed, ahead: int) -> Packed:
    """Class prompts with `ahead` tokens in the shared beginning; the others are each class's own."""
    prefix, rest = x.prefix.split([ahead, x.prefix.shape[1] - ahead], dim=1)
    suffixes = [torch.cat([rest[:, None].expand(-1, own.shape[1], -1, -1), own], dim=2) for own in x.suffixes]
    return Packed([prefix, *suffixes])


def _of_groups(x: Packed, new: New) -> Sequence[None | Tensor | Mixed]:
    """The new tokens of each group: (c, n, D), or the same for all."""
    if not isinstance(new, OfClasses):
        return [new] * len(x.suffixes)
    each: Sequence[Tensor] = new.tokens.split([own.shape[1] for own in x.suffixes])
    return each


def _count(new: New) -> int:
    tokens = new.tokens if isinstance(new, (OfClasses, Mixed)) else new
    return 0 if tokens is None else tokens.shape[-2]
