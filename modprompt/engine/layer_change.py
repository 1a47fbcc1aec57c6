"""What a layer computes beside its own frozen weights, on either side.

Shapes: N tokens, D width of the side.
"""

from typing import Any, Optional, Protocol, Sequence, Tuple

import torch
from torch import Tensor

from modprompt.clip.structure import Block

class LayerChange(Protocol):
    """A change of one layer. Both functions take tokens one by one.

    So packed tokens (N, D), sequences (B, L, D) and the rows that the last layer reads go through as they are.
    """

    def product(self, which: str, x: Tensor) -> Optional[Tensor]:
        """What is added to W x + b, (..., D); None for nothing.

        Args:
            which: the matrix: "q", "k", "v" or "o".
            x: what it is multiplied with: normalised tokens, for "o" what attention gave.
        """

    def residual(self, out: Tensor, h: Tensor) -> Tensor:
        """The block's output `out` with what is added to it; `out` itself for nothing.

        Args:
            out: (N, D), in the type of the stream.
            h: the same tokens as they entered the block, normalised by its own ln_1.
        """


Changes = Sequence[Optional[LayerChange]]  # of each layer; empty for none anywhere


def change_of(changes: Changes, layer: int) -> Optional[LayerChange]:
    """That of a layer."""
    return changes[layer] if changes else None


def changed(change: Optional[LayerChange], which: str, x: Tensor, products: Tensor) -> Tensor:
    """Products (..., k D) of tokens x (..., D), of k matrices named by the letters of `which`, with what is added."""
    if change is None:
        return products
    added = [change.product(one, x) for one in which]
    if all(one is None for one in added):
        return products
    parts = products.split(products.shape[-1] // len(which), dim=-1)
    return torch.cat([part if more is None else part + more for part, more in zip(parts, added)], dim=-1)


def in_matrices(block: Block, change: Any) -> Tuple[Block, Optional[LayerChange]]:
    """A block with the change in its matrices, if that is asked for, and what is left of the change."""
    return (change.merged(block), None) if getattr(change, "merges", False) else (block, change)


def write_in(blocks: Sequence[Block], changes: Sequence[Any]) -> Changes:
    """Write into blocks what changes their matrices; what is left of the changes."""
    left = []
    for block, change in zip(blocks, changes):
        made, rest = in_matrices(block, change)
        left.append(rest)
        if made is not block:
            with torch.no_grad():
                block.attn.in_proj_weight.copy_(made.attn.in_proj_weight)
                block.attn.out_proj.weight.copy_(made.attn.out_proj.weight)
    return left


def draws(changes: Sequence[Any]) -> bool:
    """Whether some change has to draw masks."""
    return any(getattr(one, "draws", False) for one in changes)


def is_drawn(change: Any) -> bool:
    """Whether a change has masks for all tokens of whole sequences."""
    return bool(getattr(change, "is_drawn", False))


def drawn(changes: Sequence[Any], tokens: int, sequences: int) -> Changes:
    """Changes with masks for so many tokens of each of so many sequences, drawn layer by layer where some are asked."""
    return [one.drawn(tokens, sequences) if draws([one]) else one for one in changes]


def of_sequences(changes: Sequence[Any], rows: slice) -> Changes:
    """Changes with the masks of some sequences."""
    return [one.of_sequences(rows) if is_drawn(one) else one for one in changes]
