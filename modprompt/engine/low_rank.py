"""A low-rank addition to attention's matrices (LoRA, arXiv 2106.09685): scale B A x added to W x.

In training dropout may act on x, with a mask for each matrix. Otherwise the sum is one matrix: `merged`.

Shapes: M matrices, r rank, D width, L tokens of a sequence, S sequences, N = S L tokens.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.towers import Block
from modprompt.engine.layer_change import LayerChange, MergedBlock
from modprompt.engine.weight_cache import state_of

MATRICES = ("q", "k", "v", "o")  # queries, keys, values, and what attention gives


class _Weight:
    """Weight (D', D) and bias (D') of a product."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight, bias


class _Attention:
    """What is read of a block's attention."""

    def __init__(self, weight: Tensor, bias: Tensor, out_proj: _Weight, num_heads: int):
        self.in_proj_weight, self.in_proj_bias, self.out_proj, self.num_heads = weight, bias, out_proj, num_heads


class LowRank(LayerChange):
    """A low-rank addition to some of a layer's matrices.

    Args:
        matrices: which, of MATRICES.
        a: (M, r, D) the projection to r, for each of these.
        b: (M, D, r) the projection back.
        scale: of the addition.
        rate: share of the numbers of x that dropout zeroes; 0 in tests.
        shared: whether a token that several classes share has one mask for all of them; otherwise each class has
            its own, and is a sequence of its own for that.
        through: whether x gets the gradient of the addition.
        masks: (M, L, S, D), True for what dropout zeroes; None if none are drawn.
        merges: whether it is merged into the matrices, where no gradients are needed.
    """

    def __init__(
        self,
        matrices: Sequence[str],
        a: Tensor,
        b: Tensor,
        scale: float,
        rate: float = 0.0,
        shared: bool = False,
        through: bool = True,
        masks: Tensor | None = None,
        merges: bool = False,
    ):
        self.matrices = tuple(matrices)
        self.a, self.b, self.scale = a, b, scale
        self.rate, self.shared, self.through = rate, shared, through
        self.masks, self.merges = masks, merges
        self.is_drawn = masks is not None
        self.draws = rate > 0 and not shared and masks is None
        self.draws_at_once = rate > 0 and shared
        self._merged: tuple[Block, tuple[Any, ...], Block] | None = None

    # ------------------------------------------------------------------ added to the product

    def added_to(self, products: Tensor, which: str, x: Tensor) -> Tensor:
        """Products (N, k D) of tokens x (N, D), of k matrices named by letters, with scale B A dropout(x).

        Those that have an addition are computed at once.
        """
        changed = "".join(one for one in which if one in self.matrices)
        if not changed:
            return products
        width = x.shape[-1]
        added, scale = self._added(changed, x.reshape(-1, width))
        added = added.to(products.dtype)
        if changed == which:
            of_each = products.reshape(-1, len(which), width)
            return torch.add(of_each, added.transpose(0, 1), alpha=scale).reshape(products.shape)
        parts = dict(zip(which, products.split(width, dim=-1)))
        for one, more in zip(changed, added):
            parts[one] = torch.add(parts[one], more.view(x.shape), alpha=scale)
        return torch.cat([*parts.values()], dim=-1)

    def _added(self, which: str, x: Tensor) -> tuple[Tensor, float]:
        """B A dropout(x) of tokens (N, D) by k matrices, (k, N, D), and the factor still to multiply it by."""
        x, scale = x if self.through else x.detach(), self.scale
        way_in, way_out = (self._of(which, one).to(x.dtype) for one in (self.a, self.b))
        count, rank, width = way_in.shape
        if self.masks is not None:
            masked, scale = self._masked(which, x), scale / (1 - self.rate)
            low = torch.bmm(masked, way_in.transpose(1, 2))
        else:
            if self.rate:
                low = torch.bmm(F.dropout(x.expand(count, -1, -1), self.rate), way_in.transpose(1, 2))
            else:
                low = F.linear(x, way_in.reshape(-1, width)).view(-1, count, rank).transpose(0, 1)
        return torch.bmm(low, way_out.transpose(1, 2)), scale

    def _of(self, which: str, stacked: Tensor) -> Tensor:
        """The part (k, ...) of some matrices, of what all have (M, ...)."""
        first = self.matrices.index(which[0])
        if self.matrices[first : first + len(which)] == tuple(which):
            return stacked[first : first + len(which)]
        return torch.stack([stacked[self.matrices.index(one)] for one in which])

    def _masked(self, which: str, x: Tensor) -> Tensor:
        """Tokens (N, D) of whole sequences after the masks of matrices: (k, N, D)."""
        assert self.masks is not None
        dropped = self._of(which, self.masks).transpose(1, 2)  # (k, S, L, D)
        count, sequences, _, width = dropped.shape
        each = x.reshape(1, sequences, -1, width)
        found = each.expand(count, -1, -1, -1).masked_fill(dropped[:, :, : each.shape[2]], 0.0)
        return found.reshape(count, -1, width)

    # ------------------------------------------------------------------ masks

    @property
    def factors(self) -> Sequence[Tensor]:
        """a, b; nothing where they are merged into the matrices."""
        return () if self.merges else (self.a, self.b)

    def with_factors(self, factors: Sequence[Tensor]) -> "LowRank":
        """A copy with other factors, of the same number."""
        other = copy.copy(self)
        other.a, other.b = factors
        return other

    def drawn(self, tokens: int, sequences: int) -> "LowRank":
        """A copy with masks for so many tokens and sequences, drawn matrix by matrix in the order of MATRICES."""
        shape, kept = (tokens, sequences, self.a.shape[-1]), 1 - self.rate
        order = [one for one in MATRICES if one in self.matrices]
        masks = torch.empty(len(order), *shape, dtype=torch.bool, device=self.a.device)
        if self.a.device.type != "cpu":  # whose generators differ from the reference's in any case
            return self._with(masks.bernoulli_(self.rate))
        for one in order:
            masks[self.matrices.index(one)].bernoulli_(kept)
        return self._with(masks.logical_not_())

    def of_sequences(self, rows: slice) -> "LowRank":
        """A copy with the masks of some sequences."""
        assert self.masks is not None
        return self._with(self.masks[:, :, rows])

    def _with(self, masks: Tensor) -> "LowRank":
        other = copy.copy(self)
        other.masks, other.is_drawn, other.draws = masks, True, False
        return other

    # ------------------------------------------------------------------ merged into the matrices

    def merged(self, block: Block) -> Block:
        """The block with W + scale B A in place of W; computed once for each state of these, without gradients."""
        state = state_of([block.attn.in_proj_weight, block.attn.out_proj.weight, self.a, self.b])
        if self._merged is None or self._merged[0] is not block or self._merged[1] != state:
            with torch.no_grad():
                self._merged = block, state, self._changed(block)
        return self._merged[2]

    def _changed(self, block: Block) -> Block:
        attn = block.attn
        whole, out = attn.in_proj_weight.detach().clone(), attn.out_proj.weight.detach()
        for number, which in enumerate(self.matrices):
            more = self.scale * (self.b[number].float() @ self.a[number].float())
            if which == "o":
                out = (out.float() + more).to(out.dtype)
            else:
                rows = whole.chunk(3)["qkv".index(which)]
                rows.copy_((rows.float() + more).to(rows.dtype))
        merged = _Attention(whole, attn.in_proj_bias, _Weight(out, attn.out_proj.bias), attn.num_heads)
        made: Block = MergedBlock(block, attn=merged)  # type: ignore[assignment]  # nothing of it is called
        return made
