"""One residual attention block of a stock CLIP, run from its own weights.

Only tensors are taken from the block (ln_1, the four attention tensors, ln_2, mlp); its forward is never called.
Codebases of the family patch that forward in many ways, but not the tensors.

Shapes: B sequences, L tokens, D width, H heads.
"""

import torch
import torch.nn.functional as F

_FUSED = hasattr(F, "scaled_dot_product_attention")  # torch >= 2.0


def causal_mask(length, dtype, device):
    """Additive mask (L, L): 0 on and below the diagonal, -inf above, as in CLIP's text transformer."""
    return torch.full((length, length), float("-inf"), dtype=dtype, device=device).triu_(1)


def _attention(query, key, value, causal):
    if _FUSED:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (B, H, L, L)
    if causal:
        scores = scores + causal_mask(query.shape[-2], scores.dtype, scores.device)
    return scores.softmax(dim=-1) @ value


def attend(attn, x, causal):
    """Multi-head self-attention of x (B, L, D) with the weights of an nn.MultiheadAttention."""
    B, L, D = x.shape
    qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)  # (B, L, 3D)
    qkv = qkv.reshape(B, L, 3, attn.num_heads, D // attn.num_heads).permute(2, 0, 3, 1, 4)  # (3, B, H, L, D/H)
    out = _attention(qkv[0], qkv[1], qkv[2], causal)  # (B, H, L, D/H)
    out = out.transpose(1, 2).reshape(B, L, D)
    return F.linear(out, attn.out_proj.weight, attn.out_proj.bias)


def run_block(block, x, causal=False):
    """The block's output (B, L, D) for x (B, L, D); `causal` hides later tokens from earlier ones."""
    x = x + attend(block.attn, block.ln_1(x), causal)
    return x + block.mlp(block.ln_2(x))
