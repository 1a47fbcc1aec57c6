"""A search's one attention by PyTorch's fused attention, whose log-sum-exp has no gradient: read from a marker.

A key of zeros, the marker, has the score 0 for every query. Two more columns of the values give the share of attention
on words, Z / (Z + 1), and on that key, 1 / (Z + 1), with Z the sum of the words' exponentials: log Z is the difference
of their logarithms. With one column the other would be 1 minus it, which is useless for a tiny Z. Both are finite as
long as Z and 1 / Z are in the type: up to scores of some 87 in float32, while relaxed.Mixed has no such bound.

Shapes: as in modprompt/methods/search/supernet.py.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.blocks import causal_after
from modprompt.methods.search import supernet

COLUMNS = 8  # additional ones in each head: two are read, but kernels need multiples of 8


class Marked(supernet.Mixed):
    """As Mixed."""

    def over_words(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """As Mixed.over_words: words weigh Z / (Z + 1) together, the marker 1 / (Z + 1)."""
        width = query.shape[-1]
        if causal:
            mask = causal_after(query.shape[2], key.shape[2], query.device)
        if mask is not None:
            mask = F.pad(mask, (0, 1), value=True)
        seen = F.scaled_dot_product_attention(
            F.pad(query, (0, COLUMNS)), F.pad(key, (0, COLUMNS, 0, 1)), _marked(value), attn_mask=mask, scale=1.0
        )
        of_words, of_marker = (seen[..., width + i : width + i + 1].float() for i in (0, 1))
        return seen[..., :width] / of_words.to(seen.dtype), of_words.log() - of_marker.log()


def _marked(value: Tensor) -> Tensor:
    """Values (B, H, K + 1, d + COLUMNS): the words' followed by a 1, the marker's 0 with a 1 one column later."""
    batch, heads, keys, _ = value.shape
    extra = torch.eye(2, COLUMNS, dtype=value.dtype, device=value.device)
    words = torch.cat([value, extra[0].expand(batch, heads, keys, -1)], dim=-1)
    return torch.cat([words, F.pad(extra[1], (value.shape[-1], 0)).expand(batch, heads, 1, -1)], dim=2)


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """In this context searches use the marker."""
    before = supernet.Mixed
    supernet.Mixed = Marked  # type: ignore[misc]
    try:
        yield
    finally:
        supernet.Mixed = before  # type: ignore[misc]
