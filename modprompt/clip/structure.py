"""The parts of a stock CLIP as types: what `clip.load` and `build_model` give has these attributes.

Nothing is made of these classes, and no model is an instance of them: they are there to be read, by people and mypy.
Codebases of the family patch the classes of their own `clip`, but keep the attributes that stand here.

Shapes: D width of a side, E joint width, L positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Sequence, Union

import torch
from torch import Tensor, nn

from modprompt.io.versioned import Versioned


class Layer(nn.Module):
    """A module that makes a tensor of a tensor."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """What it makes of x."""


class Norm(Layer):
    """A layer normalisation that gives back the type that it was given."""

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
    """The whole: positions (L, D) and projection (D, E) are those of the text side."""

    visual: Union[VisionTransformer, ResNet]
    transformer: Transformer
    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    ln_final: Norm
    text_projection: nn.Parameter
    logit_scale: nn.Parameter
    dtype: torch.dtype
    encode_text: Callable[[Tensor], Tensor]
    encode_image: Callable[[Tensor], Tensor]
    fingerprint: Versioned  # only where load_clip made it
