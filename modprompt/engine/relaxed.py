"""Layers that are undecided how many prompt tokens they have: a search's options in place of added tokens.

Two relaxations, and what stands in for attention in a layer that has one:

    Options (DPL, arXiv 2501.00457): each is attention to prompts of its own; outputs are mixed, nothing is carried
    Slots: every token that an option might add is there, with a presence from 0 to 1, and is carried with it

Shapes: B sequences, L tokens, K keys, N tokens of all options, S slots, H heads, d = D / H, D width of the side.
"""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

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
    lengths: number of tokens of each option: of the first 0, of each other one at least one.
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

    Prompts stand in a table of M rows and a column for each of O options (`_table`), so that what is done for an option
    is done for all at once, and of all sequences together.
    """

    def __init__(self, block: Block, options: Options):
        rows = project(block, normalise(block.ln_1, options.tokens), 1, 3)
        places, self.absent = _table(options.lengths[1:], rows.device)
        key, value = by_head(rows.index_select(0, places), 2, block.attn.num_heads)  # (M * O, H, d)
        self.key, self.value = key.transpose(0, 1), value.transpose(0, 1)
        weights = options.weights.float()
        self.plain, self.weights = weights[0], weights[1:, None]

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor] = None, causal: bool = False
    ) -> Tensor:
        """As engine.blocks.attention: (B, L, H, d)."""
        batch, length, heads, width = query.shape
        query = query * width**-0.5
        if causal:
            mask = causal_after(length, key.shape[1], query.device)
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, L, d)
        seen, counts, shift = self.over_words(query, key, value, mask)
        total = counts.log() + shift
        share, prompts = self._shares(query.transpose(0, 1).flatten(1, 2), total.transpose(0, 1).flatten(1, 2))
        share, prompts = (x.view(heads, batch, length, -1).permute(1, 2, 0, 3) for x in (share, prompts))
        return (share / counts.transpose(1, 2)).to(value.dtype) * seen.transpose(1, 2) + prompts

    def over_words(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """What queries (B, H, L, d), divided by sqrt(d), make of words' keys and values (B, H, K, d).

        Returns:
            The sum of the values (B, H, L, d), each counting exp(score - shift); what they count together and the shift
            (B, H, L, 1), float32.
        """
        scores = (query @ key.transpose(-2, -1)).float()  # (B, H, L, K)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        # together they count at most 1, which no type is too small for
        shift = scores.detach().amax(-1, keepdim=True) + math.log(key.shape[2])
        counts = (scores - shift).exp()
        return counts.to(value.dtype) @ value, counts.sum(-1, keepdim=True), shift

    def _shares(self, query: Tensor, total: Tensor) -> Tuple[Tensor, Tensor]:
        """What the words' attention counts (H, B * L), and what is added to it (H, B * L, d).

        Args:
            query: (H, B * L, d), divided by sqrt(d).
            total: (H, B * L, 1) log-sum-exp of the scores over the words.
        """
        scores = (self.key @ query.transpose(1, 2)).float()  # (H, M * O, B * L)
        scores = scores.view(len(scores), *self.absent.shape[:2], -1).masked_fill(self.absent, float("-inf"))
        total = total.transpose(1, 2)
        both = torch.logaddexp(total, scores.logsumexp(1))  # (H, O, B * L)
        share = self.plain + (self.weights * (total - both).exp()).sum(1)
        rows = self.weights * (scores - both.unsqueeze(1)).exp()
        return share, rows.flatten(1, 2).transpose(1, 2).to(self.value.dtype) @ self.value


_tables: Dict[Tuple[Tuple[int, ...], torch.device], Tuple[Tensor, Tensor]] = {}


def _table(lengths: Tuple[int, ...], device: torch.device) -> Tuple[Tensor, Tensor]:
    """Tokens of options, one behind another, in a table of a column for each option.

    Made once, since a card waits for what comes from outside.

    Returns:
        Which token stands at each place, row by row (M * O,), and where there is none (M, O, 1).
    """
    if (lengths, device) not in _tables:
        with torch.inference_mode(False):
            count, row = torch.tensor(lengths), torch.arange(max(lengths))[:, None]
            absent = row >= count
            places = (count.cumsum(0) - count + row).masked_fill(absent, 0)
            _tables[lengths, device] = places.flatten().to(device), absent[..., None].to(device)
    return _tables[lengths, device]


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
