"""The parts of a stock CLIP as types: models of `clip.load` and `build_model` have these attributes.

No model is an instance of them but of QuickGELU: they are there to be read, by people and mypy. Codebases of the
family patch the classes of their own `clip`, but keep these attributes. Shapes: D width of a side, E joint width, L
positions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """OpenAI's approximation: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    """The feed-forward part of a block: D to 4 D and back."""

    c_fc: nn.Linear
    gelu: nn.Module
    c_proj: nn.Linear


class Block(nn.Module):
    """A residual attention block; its normalisations' output has the type of their input, as in all of a CLIP."""

    ln_1: nn.LayerNorm
    attn: nn.MultiheadAttention
    ln_2: nn.LayerNorm
    mlp: MLP


class Transformer(nn.Module):
    """The blocks of a side, an nn.Sequential."""

    resblocks: Sequence[Block]


class VisionTransformer(nn.Module):
    """The image side: class embedding (D,), positions (L, D), projection (D, E)."""

    input_resolution: int
    conv1: nn.Conv2d
    class_embedding: nn.Parameter
    positional_embedding: nn.Parameter
    ln_pre: nn.LayerNorm
    transformer: Transformer
    ln_post: nn.LayerNorm
    proj: nn.Parameter


class ResNet(nn.Module):
    """The image side of a CLIP without a vision transformer."""

    input_resolution: int
    conv1: nn.Conv2d


class CLIP(nn.Module):
    """The whole model: positions (L, D) and projection (D, E) are the text side's."""

    visual: VisionTransformer | ResNet
    transformer: Transformer
    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    ln_final: nn.LayerNorm
    text_projection: nn.Parameter
    logit_scale: nn.Parameter
    dtype: torch.dtype
    encode_text: Callable[[Tensor], Tensor]
    encode_image: Callable[[Tensor], Tensor]
    fingerprint: str  # only on models of load_clip
