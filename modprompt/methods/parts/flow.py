"""Prompts of one side, mapped from those of the other side (HiCroPL, arXiv 2507.14976).

Shapes: n prompt tokens of a layer, k layers that are mapped, W width of their side, S width of the other side.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from modprompt.clip.structure import QuickGELU

HEADS = 8  # of every attention here
_WIDER = 4  # how much wider a mapper's hidden layer is


class Pool(nn.Module):
    """Attention pooling: a proxy token attends to a layer's prompts.

    Random draws: those of its attention.

    Args:
        width: S.
    """

    def __init__(self, width: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, proxy: Tensor, prompts: Tensor) -> Tensor:
        """(1, S) from a proxy token (1, S) and a layer's prompts (n, S)."""
        tokens = self.ln_1(prompts)
        pooled: Tensor = self.ln_2(proxy + self.attn(self.ln_1(proxy), tokens, tokens, need_weights=False)[0])
        return pooled


class Mapper(nn.Module):
    """A transformer layer in which prompts of one side attend to pooled ones of the other.

    Random draws: attention; linear_q, linear_k, linear_v; the hidden layer, the layer after it.

    Args:
        width: W.
        other: S.
    """

    def __init__(self, width: int, other: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(other, width)
        self.linear_v = nn.Linear(other, width)
        self.ln_1 = nn.LayerNorm(width)
        wide = _WIDER * width
        parts = (("c_fc", nn.Linear(width, wide)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(wide, width)))
        self.ffn = nn.Sequential(OrderedDict(parts))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, pooled: Tensor) -> Tensor:
        """New prompts (k n, W) from those of k layers (k n, W) and the pooled ones (k, S) of k layers."""
        x = self.linear_q(prompts)  # attention is added to these
        key, value = self.ln_1(self.linear_k(pooled)), self.ln_1(self.linear_v(pooled))
        x = x + self.attn(self.ln_1(x), key, value, need_weights=False)[0]
        mapped: Tensor = x + self.ffn(self.ln_2(x))
        return mapped


def proxies(count: int, width: int, dtype: torch.dtype) -> nn.ParameterList:
    """`count` proxy tokens (1, S), all with the values of one normal draw."""
    drawn = torch.randn(1, width, dtype=dtype)
    return nn.ParameterList([nn.Parameter(drawn.clone()) for _ in range(count)])
