"""What a layer computes beside its own frozen weights, on either side.

Shapes: N tokens, D width of the side.
"""

from typing import Optional, Sequence

import torch
from torch import Tensor


class LayerChange:
    """Base of the changes of a layer; what a subclass does not say changes nothing.

    All functions take tokens one by one, so packed tokens (N, D), sequences (B, L, D) and the rows that the last layer
    reads go through as they are.
    """

    def enters(self, x: Tensor) -> Tensor:
        """What enters the layer in the place of tokens x (..., D), prompt tokens too.

        In front of the first layer the tokens have their positions, and images' are behind ln_pre.
        """
        return x

    def product(self, which: str, x: Tensor) -> Optional[Tensor]:
        """What is added to W x + b, (..., D); None for nothing.

        Args:
            which: the matrix: "q", "k", "v" or "o".
            x: what it is multiplied with: normalised tokens, for "o" what attention gave.
        """
        return None

    def residual(self, out: Tensor, h: Tensor) -> Tensor:
        """The block's output `out` with what is added to it.

        Args:
            out: (N, D), in the type of the stream.
            h: the same tokens as they entered the block, normalised by its own ln_1.
        """
        return out


Changes = Sequence[Optional[LayerChange]]  # of each layer; empty for none anywhere


def change_of(changes: Changes, layer: int) -> Optional[LayerChange]:
    """That of a layer."""
    return changes[layer] if changes else None


def entering(change: Optional[LayerChange], x: Tensor) -> Tensor:
    """What enters a layer, of tokens x."""
    return x if change is None else change.enters(x)


def changed(change: Optional[LayerChange], which: str, x: Tensor, products: Tensor) -> Tensor:
    """Products (..., k D) of tokens x (..., D), of k matrices named by the letters of `which`, with what is added."""
    if change is None:
        return products
    added = [change.product(one, x) for one in which]
    if all(one is None for one in added):
        return products
    parts = products.split(products.shape[-1] // len(which), dim=-1)
    return torch.cat([part if more is None else part + more for part, more in zip(parts, added)], dim=-1)
