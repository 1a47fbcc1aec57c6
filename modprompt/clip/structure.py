"""The parts of a stock CLIP as types: models of `clip.load` and `build_model` have these attributes.

No model is an instance of these classes: they are there to be read, by people and mypy. Codebases of the family patch
the classes of their own `clip`, but keep these attributes.

Shapes: D width of a side, E joint width, L positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """A module from a tensor to a tensor."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Its output for x."""


class Norm(Layer):
    """A layer normalisation whose output has the type of its input."""

    weight: nn.Parameter
    bias: nn.Parameter
    eps: float


class MLP(Layer):
    """The feed-forward part of a block: D to 4 D and back."""

    c_fc: nn.Linear
    gelu: nn.Module
    c_proj: nn.Linear


class Block(nn.Module):
    """A residual attention block."""

    ln_1: Norm
    attn: nn.MultiheadAttention
    ln_2: Norm
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
    ln_pre: Norm
    transformer: Transformer
    ln_post: Norm
    proj: nn.Parameter


class ResNet(Layer):
    """The image side of a CLIP without a vision transformer."""

    input_resolution: int
    conv1: nn.Conv2d


class CLIP(nn.Module):
    """The whole model: positions (L, D) and projection (D, E) are the text side's."""

    visual: VisionTransformer | ResNet
    transformer: Transformer
    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    ln_final: Norm
    text_projection: nn.Parameter
    logit_scale: nn.Parameter
    dtype: torch.dtype
    encode_text: Callable[[Tensor], Tensor]
    encode_image: Callable[[Tensor], Tensor]
    fingerprint: str  # only on models of load_clip
