"""A low-rank addition to attention's matrices (LoRA, arXiv 2106.09685): scale B A x beside W x.

In training x may be thinned out by dropout, by a mask of each matrix's own. Elsewhere the sum is one matrix: `merged`.

Shapes: M matrices, r rank, D width, L tokens of a sequence, S sequences, N = S L tokens.
"""

import copy
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.structure import Block
from modprompt.engine.layer_change import LayerChange

MATRICES = ("q", "k", "v", "o")  # queries, keys, values, and what attention gives


class _Weight:
    """Weight (D', D) and bias (D') of a product."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight, bias


class _Attention:
    """What is read of a block's attention."""

    def __init__(self, weight: Tensor, bias: Tensor, out_proj: _Weight, num_heads: int):
        self.in_proj_weight, self.in_proj_bias, self.out_proj, self.num_heads = weight, bias, out_proj, num_heads


class MergedBlock:
    """A block with other matrices of attention; all else is the block's own."""

    def __init__(self, block: Block, attn: _Attention):
        self.ln_1, self.ln_2, self.mlp, self.attn = block.ln_1, block.ln_2, block.mlp, attn


class LowRank(LayerChange):
    """A low-rank addition to some of a layer's matrices.

    Args:
        matrices: which, of MATRICES.
        a: (M, r, D) the way in, of each of these.
        b: (M, D, r) the way out.
        scale: of the addition.
        rate: share of the numbers of x that dropout takes; 0 in tests.
        shared: whether a token that stands for several classes has one mask for all of them; else each class's has its
            own, and is a sequence of its own for that.
        through: whether x gets the gradient of the addition.
        masks: (L, S, D) of each of the matrices, True what is left; None if none are drawn.
        merges: whether it is to be in the matrices, where no gradients are asked for.
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
        masks: Optional[Sequence[Tensor]] = None,
        merges: bool = False,
    ):
        self.matrices = tuple(matrices)
        self.a, self.b, self.scale = a, b, scale
        self.rate, self.shared, self.through = rate, shared, through
        self.masks, self.merges = masks, merges
        self.is_drawn = masks is not None
        self.draws = rate > 0 and not shared and masks is None
        self._merged: Optional[Tuple[Block, Block]] = None

    # ------------------------------------------------------------------ beside the product

    def product(self, which: str, x: Tensor) -> Optional[Tensor]:
        """scale B A dropout(x) of tokens x (..., D), in their type; None for a matrix that is not changed."""
        if which not in self.matrices:
            return None
        number = self.matrices.index(which)
        x = x if self.through else x.detach()
        scale = self.scale
        if self.masks is not None:
            x, scale = self._masked(number, x), scale / (1 - self.rate)
        elif self.rate:
            x = F.dropout(x, self.rate)
        low = F.linear(x, self.a[number].to(x.dtype))
        return F.linear(low, (scale * self.b[number]).to(x.dtype))

    def _masked(self, number: int, x: Tensor) -> Tensor:
        """What a mask leaves of tokens (N, D) of whole sequences."""
        assert self.masks is not None
        mask = self.masks[number]
        sequences, width = mask.shape[1:]
        each = x.reshape(sequences, -1, width)
        return (each * mask[: each.shape[1]].transpose(0, 1).to(x.dtype)).reshape(x.shape)

    # ------------------------------------------------------------------ masks

    def drawn(self, tokens: int, sequences: int) -> "LowRank":
        """The same with masks for so many tokens of so many sequences, matrix by matrix as MATRICES has them."""
        shape, device = (tokens, sequences, self.a.shape[-1]), self.a.device
        masks = {one: torch.empty(shape, device=device).bernoulli_(1 - self.rate).bool() for one in self._in_order()}
        return self._with([masks[one] for one in self.matrices])

    def of_sequences(self, rows: slice) -> "LowRank":
        """The same with the masks of some sequences."""
        assert self.masks is not None
        return self._with([mask[:, rows] for mask in self.masks])

    def _in_order(self) -> Sequence[str]:
        return [one for one in MATRICES if one in self.matrices]

    def _with(self, masks: Sequence[Tensor]) -> "LowRank":
        other = copy.copy(self)
        other.masks, other.is_drawn, other.draws = masks, True, False
        return other

    # ------------------------------------------------------------------ in the product

    def merged(self, block: Block) -> Block:
        """The block with W + scale B A in the place of W; made once, without gradients."""
        if self._merged is None or self._merged[0] is not block:
            with torch.no_grad():
                self._merged = block, self._of(block)
        return self._merged[1]

    def _of(self, block: Block) -> Block:
        attn = block.attn
        whole, out = attn.in_proj_weight.detach().clone(), attn.out_proj.weight.detach()
        for number, which in enumerate(self.matrices):
            more = self.scale * (self.b[number].float() @ self.a[number].float())
            if which == "o":
                out = (out.float() + more).to(out.dtype)
            else:
                rows = whole.chunk(3)["qkv".index(which)]
                rows.copy_((rows.float() + more).to(rows.dtype))
        made: Block = MergedBlock(  # type: ignore[assignment]  # its tensors are read, and nothing is called
            block, _Attention(whole, attn.in_proj_bias, _Weight(out, attn.out_proj.bias), attn.num_heads)
        )
        return made
