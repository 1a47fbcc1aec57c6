"""Class prompts without waste: what all share once, then each class's own tokens, grouped by length.

Attention on the text side is causal, so equal beginnings have equal states in every layer, and nothing behind an
end-of-text token reaches its feature.

Shapes: C classes, L tokens, P shared tokens, T text width, B images that have prompts of their own (1 if none have).
"""

from typing import Dict, List, NamedTuple, Tuple

import torch
from torch import Tensor

PADDING = 0.05  # so much arithmetic may be added to have fewer groups


class Group(NamedTuple):
    """Classes whose own tokens are computed at one length."""

    classes: Tuple[int, ...]  # their numbers
    lengths: Tuple[int, ...]  # number of own tokens of each, the end token the last
    length: int  # the longest of them


class Suffix(NamedTuple):
    """The own tokens of a group's classes: embeddings (B, c, L, T), and where in them each class ends (c,).

    padded: whether any class ends before the last token.
    """

    tokens: Tensor
    end: Tensor
    padded: bool


class TextTokens(NamedTuple):
    """All class prompts, embedded but without positions.

    prefix: the shared beginning (B, P, T).
    suffixes: each group's own tokens.
    order: (C,) where each class stands in the groups, laid end to end.
    context_in_prefix: whether the context is part of the shared beginning, or opens each class's own tokens.
    """

    prefix: Tensor
    suffixes: List[Suffix]
    order: Tensor
    context_in_prefix: bool


def count_shared(symbols: Tensor, end: Tensor) -> int:
    """Number of leading columns of symbols (C, L) that are equal in all rows, short of every end (C,)."""
    same = (symbols == symbols[:1]).all(dim=0)
    return min(int(same.long().cumprod(0).sum()), int(end.min()))


def group_by_length(lengths: List[int], padding: float = PADDING) -> List[Group]:
    """Groups of classes by number of own tokens, short ones first.

    Neighbouring lengths are joined while the tokens of all groups stay within 1 + padding times those there are.
    """
    by_length: Dict[int, List[int]] = {}
    for number, length in enumerate(lengths):
        by_length.setdefault(length, []).append(number)
    runs = [(by_length[length], length) for length in sorted(by_length)]
    spare = int(padding * sum(lengths))
    while len(runs) > 1:
        costs = [(len(runs[i][0]) * (runs[i + 1][1] - runs[i][1]), i) for i in range(len(runs) - 1)]
        cost, i = min(costs)
        if cost > spare:
            break
        spare -= cost
        runs[i : i + 2] = [(runs[i][0] + runs[i + 1][0], runs[i + 1][1])]
    return [Group(tuple(numbers), tuple(lengths[n] for n in numbers), length) for numbers, length in runs]


def order_of(groups: List[Group]) -> Tensor:
    """(C,) position of each class in the groups, laid end to end."""
    laid = torch.tensor([number for group in groups for number in group.classes])
    order = torch.empty_like(laid)
    order[laid] = torch.arange(len(laid))
    return order


def split(suffixes: List[Suffix], most: int) -> List[List[Suffix]]:
    """Chunks of suffixes with at most `most` tokens (of one image) each, but at least one class; order is kept."""
    chunks: List[List[Suffix]] = [[]]
    room = most
    for suffix in suffixes:
        length, done, total = suffix.tokens.shape[2], 0, suffix.tokens.shape[1]
        while done < total:
            fits = max(room // length, 0 if chunks[-1] else 1)
            if fits == 0:
                chunks.append([])
                room = most
                continue
            part = slice(done, done + fits)
            chunks[-1].append(Suffix(suffix.tokens[:, part], suffix.end[part], suffix.padded))
            taken = min(fits, total - done)
            done += taken
            room -= taken * length
    return chunks
