"""Class prompts without waste: shared tokens once, then each class's own tokens, grouped by length.

Attention on the text side is causal, so equal beginnings have equal states in every layer, and nothing after an
end-of-text token reaches its feature.

How much is shared and padded depends on the device. On a CPU arithmetic costs most: all that can be shared is, and
little is padded. On a GPU a few tokens cost only the launches of their kernels: then every class is a whole sequence,
padded to one length; with many tokens the beginning is shared, in few groups.

Shapes: C classes, L tokens, P shared tokens, T text width, B images that have prompts of their own (1 if none have).
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 0.05  # share of arithmetic that may be added for fewer groups
CARD_PADDING = 0.5  # the same on a GPU, where a group costs its launches in every layer
FEW_TOKENS = 2048  # of whole sequences: up to here launches take most of a GPU's time; estimated, not measured

GRID = 65535  # sequences that one call of attention may have on a GPU: CUDA's limit of blocks in a direction
NUMBERED = 2**31 - 1  # elements that a backward pass of attention can tell apart there


class Group(NamedTuple):
    """Classes whose own tokens are computed at one length."""

    classes: tuple[int, ...]  # their numbers
    lengths: tuple[int, ...]  # number of own tokens of each, the end token the last
    length: int  # the longest of them


class Layout(NamedTuple):
    """How class prompts are computed: the number of tokens that are computed once, and the groups of the rest."""

    shared: int
    groups: list[Group]


class Suffix(NamedTuple):
    """The own tokens of a group's classes: embeddings (B, c, L, T), and where in them each class ends (c,).

    padded: whether any class ends before the last token.
    """

    tokens: Tensor
    end: Tensor
    padded: bool


class TextTokens(NamedTuple):
    """All class prompts, embedded but without positions.

    prefix: the shared beginning (B, P, T); P is 0 where each class is a whole sequence.
    suffixes: each group's own tokens.
    order: (C,) place of each class in the groups, one after another; None if that is the class order.
    context_in_prefix: whether the context is part of the shared beginning, or of each class's own tokens.
    """

    prefix: Tensor
    suffixes: list[Suffix]
    order: Tensor | None
    context_in_prefix: bool


class WholeTokens(NamedTuple):
    """All class prompts of a text side whose padding is read (whole_text.py), embedded but without positions.

    ctx: (B, C, n, T), or for all classes (B, 1, n, T).
    words: (C, W, T), each class's words and end token, shorter ones padded at the end.
    padding: (1, T), fills the places after them up to the last of L positions.
    """

    ctx: Tensor
    words: Tensor
    padding: Tensor

    def of(self, which: slice | Tensor) -> "WholeTokens":
        """The prompts of some classes."""
        ctx = self.ctx if self.ctx.shape[1] == 1 else self.ctx[:, which]
        return self._replace(ctx=ctx, words=self.words[which])

    def laid_out(self, length: int, dtype: torch.dtype) -> Tensor:
        """Texts (B, C, L, T)."""
        batch, count = self.ctx.shape[0], self.words.shape[0]
        parts = [self.ctx, self.words[None]]
        spare = length - sum(part.shape[2] for part in parts)
        parts.append(self.padding.expand(1, 1, spare, -1))
        return torch.cat([part.to(dtype).expand(batch, count, -1, -1) for part in parts], dim=2)


def apart(text: TextTokens) -> TextTokens:
    """The same prompts, each class as a sequence of its own, in label order, all padded to one length."""
    shared, longest = text.prefix.shape[1], max(suffix.tokens.shape[2] for suffix in text.suffixes)
    own = [F.pad(suffix.tokens, (0, 0, 0, longest - suffix.tokens.shape[2])) for suffix in text.suffixes]
    tokens, end = torch.cat(own, dim=1), torch.cat([suffix.end for suffix in text.suffixes])
    if text.order is not None:
        tokens, end = tokens.index_select(1, text.order), end.index_select(0, text.order)
    ahead = text.prefix[:, None].expand(-1, tokens.shape[1], -1, -1)
    whole = Suffix(torch.cat([ahead, tokens], dim=2), end + shared, True)
    return TextTokens(text.prefix[:, :0], [whole], None, False)


def some(text: TextTokens, groups: Sequence[Group], numbers: Sequence[int]) -> TextTokens:
    """Some of the prompts, each once, in the order of their `numbers`; `groups` are those of all."""
    wanted = {number: place for place, number in enumerate(numbers)}
    suffixes, laid = [], []
    for group, suffix in zip(groups, text.suffixes):
        found = [at for at, number in enumerate(group.classes) if number in wanted]
        if found:
            lengths = [group.lengths[at] for at in found]
            at = torch.tensor(found).to(suffix.end.device, non_blocking=True)
            tokens = suffix.tokens.index_select(1, at)[:, :, : max(lengths)]
            suffixes.append(Suffix(tokens, suffix.end.index_select(0, at), min(lengths) < max(lengths)))
            laid += [wanted[group.classes[at]] for at in found]
    in_place = laid == sorted(laid)
    order = None if in_place else torch.tensor(laid).argsort().to(text.prefix.device, non_blocking=True)
    return text._replace(suffixes=suffixes, order=order)


def counts_launches(device: torch.device) -> bool:
    """Whether a step's time on a device is mostly that of kernel launches, not of arithmetic: on a GPU."""
    return device.type != "cpu"


def most_sequences(length: int, heads: int, width: int, device: torch.device) -> int | None:
    """How many sequences one call of attention may have on a device; None for any number.

    On a GPU its kernels lay them out along one direction of the grid. Where gradients are computed, flash's backward
    pass numbers with 32 bits the elements of queries, which are padded to 128 tokens, and to 32 numbers of each head.

    Args:
        length: tokens of the longest, in any layer.
        heads: of a layer.
        width: D, of all heads.
        device: where.
    """
    if not counts_launches(device):
        return None
    if not torch.is_grad_enabled():
        return GRID
    return min(GRID, NUMBERED // (heads * _up(length, 128) * _up(width // heads, 32)))


def _up(number: int, whole: int) -> int:
    return -(-number // whole) * whole


def lay_out(ends: Sequence[int], shared: int, device: torch.device, of_images: bool = False) -> Layout:
    """How prompts are computed on a device.

    Args:
        ends: place of each prompt's end token.
        shared: number of tokens that all prompts begin with.
        device: where.
        of_images: whether each image of a batch has prompts of its own: then there are many tokens.
    """
    own = [end + 1 - shared for end in ends]
    if not counts_launches(device):
        return Layout(shared, group_by_length(own))
    whole = [end + 1 for end in ends]
    if not of_images and len(whole) * max(whole) <= FEW_TOKENS:
        return Layout(0, [Group(tuple(range(len(whole))), tuple(whole), max(whole))])
    return Layout(shared, group_by_length(own, CARD_PADDING))


def count_shared(symbols: Tensor, end: Tensor) -> int:
    """Number of leading columns of symbols (C, L) that are equal in all rows, without any row's end (C,)."""
    same = (symbols == symbols[:1]).all(dim=0)
    return min(int(same.long().cumprod(0).sum()), int(end.min()))


def group_by_length(lengths: Sequence[int], padding: float = PADDING) -> list[Group]:
    """Groups of classes by number of own tokens, short ones first.

    Neighbouring lengths are joined while the tokens of all groups stay within 1 + padding times their number.
    """
    by_length: dict[int, list[int]] = {}
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


def order_of(groups: list[Group]) -> Tensor:
    """(C,) position of each class in the groups, one after another."""
    laid = torch.tensor([number for group in groups for number in group.classes])
    order = torch.empty_like(laid)
    order[laid] = torch.arange(len(laid))
    return order


def split(suffixes: list[Suffix], most: int | None, most_classes: int | None = None) -> list[list[Suffix]]:
    """Chunks of suffixes, each of at most `most` tokens (of one image) and `most_classes` classes; order is kept.

    A chunk has at least one class.

    Args:
        suffixes: of all classes.
        most: tokens of a chunk; None for any number.
        most_classes: classes of a chunk; None for any number.
    """
    if most is None and most_classes is None:
        return [suffixes]
    whole = (sys.maxsize if most is None else most, sys.maxsize if most_classes is None else max(1, most_classes))
    chunks: list[list[Suffix]] = [[]]
    room, places = whole
    for suffix in suffixes:
        length, done, total = suffix.tokens.shape[2], 0, suffix.tokens.shape[1]
        while done < total:
            fits = min(max(room // length, 0 if chunks[-1] else 1), places)
            if fits == 0:
                chunks.append([])
                room, places = whole
                continue
            part = slice(done, done + fits)
            chunks[-1].append(Suffix(suffix.tokens[:, part], suffix.end[part], suffix.padded))
            taken = min(fits, total - done)
            done += taken
            room -= taken * length
            places -= taken
    return chunks
