"""Layers whose number of prompt tokens is open: a search's options instead of added tokens.

Two relaxations, and the attention of a layer that has one:

    Options (DPL, arXiv 2501.00457): each is attention to its own prompts; outputs are mixed, nothing is carried
    Slots: every token that an option might add is there, with a presence from 0 to 1, and is carried with it

Shapes: B sequences, L tokens, K keys, N tokens of all options, S slots, H heads, d = D / H, D width of the side.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.engine.additions import mapped, tokens_of, with_tokens
from modprompt.engine.blocks import Attend, attention, by_head, project
from modprompt.engine.schedule import CARRY, Step
from modprompt.engine.token_updates import New
from modprompt.engine.weight_cache import normalise

_ABSENT = 1e-20  # smaller presences count as this, so that the logarithm and its slope stay finite


class Options(NamedTuple):
    """A layer's options of 0, 1, ..., c tokens, which are keys and values only in that layer (an OwnAttention).

    tokens: (c * c, D) c for each option but the first; option o reads the first o of its own.
    unread: (c, c) what is added to their scores: 0, or minus infinity for tokens that are not read.
    weights: (c + 1,) with sum 1.
    """

    tokens: Tensor
    unread: Tensor
    weights: Tensor

    @property
    def tokens_given(self) -> Tensor:
        """The tokens of all options."""
        return self.tokens

    @property
    def joins(self) -> New:
        """None: they are read only in their layer."""
        return None

    def with_tokens(self, tokens: Tensor | None) -> "Options":
        """A copy with other tokens, of the same number."""
        return self if tokens is None else self._replace(tokens=tokens)

    def step(self, scheduled: Step) -> Step:
        """Nothing is removed or added."""
        return CARRY

    def attend(self, block: Block, start: int) -> Attend:
        """A mixture over the options."""
        return Mixed(block, self)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Options":
        """A copy with `change` applied to each tensor."""
        return Options(*map(change, self))


class Slots(NamedTuple):
    """A layer's slots (an OwnAttention): new ones (A, D), or a set for each class, after those that are there.

    new: the new ones.
    bias: (S,) the logarithm of the presence of all slots, new ones at the end.
    """

    new: New
    bias: Tensor

    @property
    def tokens_given(self) -> Tensor | None:
        """The new ones."""
        return tokens_of(self.new)

    @property
    def joins(self) -> New:
        """The new ones."""
        return self.new

    def with_tokens(self, tokens: Tensor | None) -> "Slots":
        """A copy with other new slots, of the same number."""
        return self._replace(new=with_tokens(self.new, tokens))

    def step(self, scheduled: Step) -> Step:
        """As scheduled."""
        return scheduled

    def attend(self, block: Block, start: int) -> Attend:
        """Attention in which each slot counts by its presence."""
        return Weighed(self.bias, start) if len(self.bias) else attention

    def map(self, change: Callable[[Tensor], Tensor]) -> "Slots":
        """A copy with `change` applied to each tensor."""
        return Slots(mapped(self.new, change), change(self.bias))


class Mixed:
    """Attention mixed over options, at the cost of one.

    With O and s, attention and log-sum-exp of the scores over only the words, an option attends to its prompts and to
    one key of score s whose value is O; the mixture, with weights of sum 1, goes once through the next projection.
    """

    def __init__(self, block: Block, options: Options):
        rows = project(block, normalise(block.ln_1, options.tokens), 1, 3)
        key, value = by_head(rows, 2, block.attn.num_heads)  # (c * c, H, d)
        self.key, self.value = key.permute(1, 2, 0), value.transpose(0, 1)
        self.unread = options.unread
        self.weights = options.weights

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """As engine.blocks.attention: (B, L, H, d)."""
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, L, d)
        query = query * query.shape[-1] ** -0.5
        words, total = self.over_words(query, key, value, mask, causal)
        share, rows = self._shares(query, total)
        prompts = rows.to(value.dtype) @ self.value.to(value.dtype)
        return (share.to(value.dtype) * words + prompts).transpose(1, 2)

    def over_words(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Attention (B, H, L, d) of queries, divided by sqrt(d), over words, and log-sum-exp (B, H, L, 1) of scores."""
        scores = (query @ key.transpose(-2, -1)).float()  # (B, H, L, K)
        if causal:
            scores = scores + _ahead(scores)
        elif mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1).to(value.dtype) @ value, scores.logsumexp(-1, keepdim=True)

    def _shares(self, query: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """The weight of the words' attention (B, H, L, 1), and of each prompt's value (B, H, L, c * c)."""
        own = (query @ self.key.to(query.dtype)).float()  # (B, H, L, c * c)
        own = own.view(*own.shape[:-1], *self.unread.shape) + self.unread
        words = total[..., None].expand(*own.shape[:-1], 1)
        none, some = self.weights.split([1, own.shape[-1]])
        shares = torch.cat([words, own], -1).softmax(-1) * some[:, None]  # (B, H, L, c, 1 + c)
        share, rows = shares.split([1, own.shape[-1]], -1)
        return share.sum(-2) + none, rows.flatten(-2)


class Weighed:
    """Attention in which a slot of presence g counts as g tokens: its bias, log g, is added to its score."""

    def __init__(self, bias: Tensor, start: int):
        self.bias = bias  # (S,)
        self.start = start

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """As engine.blocks.attention: (B, L, H, d)."""
        keys = key.shape[1]
        bias = F.pad(self.bias.to(query.dtype), (self.start, keys - self.start - len(self.bias)))
        if causal:
            bias = bias + _ahead(bias.expand(query.shape[1], keys))
        elif mask is not None:
            bias = bias.masked_fill(~mask, float("-inf"))
        return attention(query, key, value, bias if bias.dim() > 1 else bias[None])


def _ahead(scores: Tensor) -> Tensor:
    """What is added to scores (..., L, L) so that no token sees later ones."""
    return scores.new_full(scores.shape[-2:], float("-inf")).triu_(1)


def log_of(presence: Tensor) -> Tensor:
    """The logarithm of presences, finite and with a finite slope."""
    return presence.clamp_min(_ABSENT).log()


def presences(removes: Tensor, comes: Tensor) -> Tensor:
    """Presence (L, S) of all slots before each layer, 0 before they are added.

    A slot that is the k-th from the end (k adds up presences, its own as one) survives a layer with the probability
    that fewer than k are removed, interpolated linearly between whole k; new slots are added after the others.

    Args:
        removes: (L, R + 1) the probabilities that a layer removes 0, 1, ..., R tokens; the rest is that of all.
        comes: (L, S) the probability that a slot is added before a layer; 0 except in the layer that it belongs to.
    """
    slots, most = comes.shape[1], removes.shape[1] - 1
    behind_each = comes.new_ones(slots, slots).triu_(1)
    whole = torch.arange(1, most + 1, device=comes.device)
    # a slot with k after it survives unless all are removed, or a number above k, which counts by its distance
    some = removes.sum(1, keepdim=True).expand(-1, slots)
    slope = F.pad(removes, (0, 1)).diff(dim=1)[:, 1:]  # (L, R)
    found: list[Tensor] = []
    for first, left, falls in zip(comes.unbind(), some.unbind(), slope.unbind()):
        if found:
            short = (whole - (behind_each @ found[-1])[:, None]).relu()  # (S, R)
            first = torch.addcmul(first, found[-1], torch.addmv(left, short, falls))
        found.append(first)
    return torch.stack(found)
