"""Layers that are undecided how many prompt tokens they have: a search's options in place of added tokens.

Two relaxations, and what stands in for attention in a layer that has one:

    Options (DPL, arXiv 2501.00457): each is attention to prompts of its own; outputs are mixed, nothing is carried
    Slots: every token that an option might add is there, with a presence from 0 to 1, and is carried with it

Shapes: B sequences, L tokens, K keys, N tokens of all options, S slots, H heads, d = D / H, D width of the side.
"""

from typing import List, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clips.structure import Block
from modprompt.engine.blocks import Attend, attention, by_head, causal_after, project
from modprompt.engine.derived import normalise
from modprompt.engine.schedule import CARRY, Step

_ABSENT = 1e-20  # a smaller presence counts as this: its logarithm, and that one's slope, stay finite


class Options(NamedTuple):
    """A layer's options of 0, 1, ... tokens, which are keys and values of that layer alone.

    tokens: (N, D) those of all options, one behind another.
    lengths: number of tokens of each option.
    weights: (options,) sum 1.
    """

    tokens: Tensor
    lengths: Tuple[int, ...]
    weights: Tensor


class Slots(NamedTuple):
    """A layer's slots: new ones (A, D) or None, and the presence (S,) in 0..1 of all, the new ones at the end."""

    new: Optional[Tensor]
    presence: Tensor


Addition = Union[None, Tensor, Options, Slots]


def cast(addition: Addition, dtype: torch.dtype) -> Addition:
    """With its tokens in another type."""
    if isinstance(addition, Options):
        return addition._replace(tokens=addition.tokens.to(dtype))
    if isinstance(addition, Slots):
        return addition._replace(new=None if addition.new is None else addition.new.to(dtype))
    return None if addition is None else addition.to(dtype)


def step_of(addition: Addition, step: Step) -> Step:
    """What happens to the sequence in front of a layer for which the schedule has `step`."""
    return CARRY if isinstance(addition, Options) else step


def new_tokens(addition: Addition) -> Optional[Tensor]:
    """The tokens (n, D) that join the sequence."""
    if isinstance(addition, Slots):
        return addition.new
    return None if isinstance(addition, Options) else addition


def attends(block: Block, addition: Addition, start: int) -> Attend:
    """What stands in for attention in a block; `start` is the place of the first prompt token among the keys."""
    if isinstance(addition, Options):
        return Mixed(block, addition)
    if isinstance(addition, Slots) and len(addition.presence):
        return Weighed(addition.presence, start)
    return attention


class Mixed:
    """Attention mixed over options, at the price of one.

    With O, s attention and log-sum-exp of the scores over the words alone, O_c, s_c those over the prompts of option c
    alone, option c gives O + sigmoid(s_c - s) (O_c - O); what is mixed with weights of sum 1 goes once through the
    projection behind it.
    """

    def __init__(self, block: Block, options: Options):
        rows = project(block, normalise(block.ln_1, options.tokens), 1, 3)
        self.key, self.value = by_head(rows, 2, block.attn.num_heads)  # (N, H, d)
        self.lengths = options.lengths
        self.weights = options.weights

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor] = None, causal: bool = False
    ) -> Tensor:
        """As engine.blocks.attention: (B, L, H, d)."""
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, L, d)
        query = query * query.shape[-1] ** -0.5
        scores = (query @ key.transpose(-2, -1)).float()  # (B, H, L, K)
        if causal:
            mask = causal_after(query.shape[2], key.shape[2], query.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        total = scores.logsumexp(-1, keepdim=True)  # (B, H, L, 1)
        words = (scores - total).exp().to(value.dtype) @ value  # (B, H, L, d)
        share, rows = self._shares(query, total)
        prompts = rows.to(value.dtype) @ self.value.transpose(0, 1).to(value.dtype)
        return (share.to(value.dtype) * words + prompts).transpose(1, 2)

    def _shares(self, query: Tensor, total: Tensor) -> Tuple[Tensor, Tensor]:
        """What the words' attention counts (B, H, L, 1), and what each prompt's value does (B, H, L, N)."""
        scores = (query @ self.key.permute(1, 2, 0).to(query.dtype)).float()  # (B, H, L, N)
        share, rows = torch.zeros_like(total), []
        for own, weight in zip(scores.split(list(self.lengths), -1), self.weights.float()):
            if not own.shape[-1]:
                share = share + weight
                continue
            both = torch.logaddexp(total, own.logsumexp(-1, keepdim=True))
            share = share + weight * (total - both).exp()
            rows.append(weight * (own - both).exp())
        return share, torch.cat(rows, -1)


class Weighed:
    """Attention in which a slot of presence g counts as g tokens: log g is added to its score."""

    def __init__(self, presence: Tensor, start: int):
        self.bias = presence.float().clamp_min(_ABSENT).log()  # (S,)
        self.start = start

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor] = None, causal: bool = False
    ) -> Tensor:
        """As engine.blocks.attention: (B, L, H, d)."""
        keys = key.shape[1]
        bias = F.pad(self.bias, (self.start, keys - self.start - len(self.bias)))
        if causal:
            mask = causal_after(query.shape[1], keys, query.device)
        seen = bias[None] if mask is None else bias.masked_fill(~mask, float("-inf"))
        return attention(query, key, value, seen.to(query.dtype))


def presences(survival: List[Tensor], arrival: List[Tensor]) -> List[Tensor]:
    """Presence (S,) of all slots in front of each layer.

    A slot that is the k-th from the end (k counts presences, its own as one) survives a layer with the probability that
    fewer than k are removed, interpolated linearly between whole k; new slots come behind the others.

    Args:
        survival: of each layer, at k = 0, 1, 2, ...: the probability (R + 1,) that fewer than k are removed. Beyond its
            end it is that of the last; 0 at k = 0.
        arrival: of each layer, the probability (A,) that its first, second, ... new slot comes.
    """
    found: List[Tensor] = []
    present = arrival[0].new_zeros(0)
    for stays, comes in zip(survival, arrival):
        if len(present):
            behind = present.flip(0).cumsum(0).flip(0) - present  # sum of the presences behind each
            present = present * _at(stays, 1 + behind)
        present = torch.cat([present, comes])
        found.append(present)
    return found


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Values (R + 1,) given at 0, 1, ..., R read at places between, linearly; beyond R that of R."""
    places = places.clamp(max=len(values) - 1)
    low = places.detach().floor().long().clamp(max=max(len(values) - 2, 0))
    high = (low + 1).clamp(max=len(values) - 1)
    part = places - low
    return values[low] * (1 - part) + values[high] * part
