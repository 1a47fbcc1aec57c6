"""Parts of a residual attention block of a stock CLIP, run from its own weights.

Only tensors are read from the block (ln_1, the four attention tensors, ln_2, mlp); its forward is never called.
Codebases of the family patch that forward in many ways, but not the tensors.

The stream x may have another type than the weights (float32 with half-precision weights): products are computed in
the weights' type, sums in the stream's.

Shapes: N tokens, B sequences, L tokens of each, D width, H heads, d = D / H.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.towers import MLP, Block
from modprompt.engine import text_layout
from modprompt.engine.layer_change import LayerChange, changed, entering
from modprompt.engine.weight_cache import normalise, scaled_bias

Attend = Callable[..., Tensor]  # stands in for `attention`: the same arguments, the same shapes

_QUICK = 1.702  # QuickGELU(x) = x * sigmoid(1.702 x) = silu(1.702 x) / 1.702


def project(block: Block, x: Tensor, first: int = 0, last: int = 3, change: LayerChange | None = None) -> Tensor:
    """Queries, keys and values (0, 1, 2) from `first` up to `last` of normalised tokens x (..., D): (..., n * D)."""
    width = x.shape[-1]
    attn = block.attn
    rows = slice(first * width, last * width)
    products = F.linear(x.to(attn.in_proj_weight.dtype), attn.in_proj_weight[rows], attn.in_proj_bias[rows])
    return changed(change, "qkv"[first:last], x, products)


def by_head(x: Tensor, kinds: int, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys and values (..., H, d), `kinds` of them, from the output (..., kinds * D) of `project`."""
    return x.view(*x.shape[:-1], kinds, heads, x.shape[-1] // (kinds * heads)).unbind(-3)


def causal_after(queries: int, keys: int, device: torch.device) -> Tensor | None:
    """Mask (queries, keys), True where query i, at position keys - queries + i, may look; None if all may."""
    if queries == 1:
        return None
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril_(keys - queries)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """softmax(query key^T / sqrt(d)) value for (B, L, H, d) each.

    `mask` (..., L, keys) is True where to look, or holds numbers that are added to the scores. With `causal` instead,
    and as many keys as queries, each query looks at itself and at what comes before; no mask is built for that.
    """
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, L, d)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    return out.transpose(1, 2)


class FrozenMLP(torch.autograd.Function):
    """c_proj(activation(c_fc(x))) for x (N, D) with weights that are not trained; keeps one (N, hidden) tensor.

    The activation is QuickGELU or, with `quick` False, GELU. The first product is scaled as QuickGELU needs, and so is
    the bias (hidden,), unless it is `scaled` already: then adding it is part of the product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_in: Tensor,
        bias_in: Tensor,
        weight_out: Tensor,
        bias_out: Tensor,
        quick: bool,
        scaled: bool = False,
    ) -> Tensor:
        scale = _QUICK if quick else 1.0
        hidden = torch.addmm(bias_in, x, weight_in.t(), beta=1.0 if scaled else scale, alpha=scale)
        ctx.save_for_backward(hidden, weight_in, weight_out)
        ctx.quick = quick
        active = F.silu(hidden) if quick else F.gelu(hidden)
        return torch.addmm(bias_out, active, weight_out.t(), alpha=1 / scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # with QuickGELU the factors 1.702 of the first product and 1 / 1.702 of the second cancel
        hidden, weight_in, weight_out = ctx.saved_tensors
        kind = hidden.dtype  # under autocast not the weights' own
        slope = torch.ops.aten.silu_backward if ctx.quick else torch.ops.aten.gelu_backward
        grad = slope(torch.mm(grad.to(kind), weight_out.to(kind)), hidden)
        return torch.mm(grad, weight_in.to(kind)), None, None, None, None, None, None


def quick_or_not(mlp: MLP) -> bool | None:
    """Whether a frozen feed-forward part has QuickGELU (True) or GELU (False); None if it is anything else."""
    gelu = getattr(mlp, "gelu", None)
    name = type(gelu).__name__
    if mlp.c_fc.weight.requires_grad or getattr(gelu, "approximate", "none") != "none":
        return None
    return {"QuickGELU": True, "GELU": False}.get(name)


def feed_forward(block: Block, x: Tensor) -> Tensor:
    """x + mlp(ln_2(x)) of tokens x (N, D)."""
    mlp = block.mlp
    hidden = normalise(block.ln_2, x).to(mlp.c_fc.weight.dtype)
    quick = quick_or_not(mlp)
    if quick is None:
        return torch.add(x, mlp(hidden))
    scaled = quick and text_layout.counts_launches(x.device)
    bias = scaled_bias(mlp.c_fc, _QUICK) if scaled else mlp.c_fc.bias
    out: Tensor = FrozenMLP.apply(  # type: ignore[no-untyped-call]  # torch's
        hidden, mlp.c_fc.weight, bias, mlp.c_proj.weight, mlp.c_proj.bias, quick, scaled
    )
    return x + out


def close(block: Block, x: Tensor, h: Tensor, attended: Tensor, change: LayerChange | None = None) -> Tensor:
    """The rest of a block after attention: x (N, D) plus the projection of `attended` (N, D), then the MLP.

    h (N, D) are the tokens x, normalised by ln_1; a change reads them.
    """
    out = block.attn.out_proj
    projected = changed(change, "o", attended, F.linear(attended, out.weight, out.bias))
    x = feed_forward(block, x + projected)
    return x if change is None else change.residual(x, h)


def run_block(
    block: Block,
    x: Tensor,
    mask: Tensor | None = None,
    attend: Attend = attention,
    change: LayerChange | None = None,
) -> Tensor:
    """The block's output for sequences x (B, L, D); `mask` (L, L) is True where a token looks, None for everywhere."""
    batch, length, width = x.shape
    x = entering(change, x.reshape(-1, width))
    h = normalise(block.ln_1, x)
    qkv = project(block, h, change=change).view(batch, length, 3 * width)
    query, key, value = by_head(qkv, 3, block.attn.num_heads)
    attended = attend(query, key, value, mask).reshape(-1, width)
    return close(block, x, h, attended, change).view(batch, length, width)


def run_last_block(
    block: Block,
    x: Tensor,
    attend: Attend = attention,
    at: Tensor | None = None,
    change: LayerChange | None = None,
    prompts: slice | None = None,
) -> Tensor:
    """The block's output (B, D) for one token of each sequence x (B, L, D): the first, or the one at place `at` (B,).

    With the places of prompt tokens, the output (B, 1 + n, D) for these too.
    """
    batch, length, width = x.shape
    heads = block.attn.num_heads
    x = entering(change, x)
    h = normalise(block.ln_1, x)
    h_read, rows = tokens_of(h, at, prompts), tokens_of(x, at, prompts)
    query = project(block, h_read, 0, 1, change).view(batch, -1, heads, width // heads)
    key, value = by_head(project(block, h.reshape(-1, width), 1, 3, change).view(batch, length, 2 * width), 2, heads)
    attended = attend(query, key, value).reshape(-1, width)
    return close(block, rows.reshape(-1, width), h_read.reshape(-1, width), attended, change).view(rows.shape)


def tokens_of(x: Tensor, at: Tensor | None = None, prompts: slice | None = None) -> Tensor:
    """The token (B, D) that is read of each sequence x (B, L, D): the first, or the one at place `at` (B,).

    With the places of prompt tokens, (B, 1 + n, D): these after it.
    """
    one = x[:, 0] if at is None else x[torch.arange(len(x), device=x.device), at]
    return one if prompts is None else torch.cat([one[:, None], x[:, prompts]], dim=1)
