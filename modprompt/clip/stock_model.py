"""A CLIP of the stock shape as a plain module, for what the `clip` package cannot build.

GELU, heads of any width, feed-forward parts of any size. Attributes and names of tensors are the stock model's
(structure.py), so it works wherever that does. Building draws from no generator. Source: CLIP (arXiv 2103.00020).

Shapes: B images or texts, L tokens, D width of a side, E joint width.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.design import GELU, Design
from modprompt.clip.structure import CLIP


class LayerNorm(nn.LayerNorm):
    """A layer normalisation in its weights' type whose output has the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D), normalised."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class QuickGELU(nn.Module):
    """OpenAI's approximation: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """Attention and feed-forward part, each after a normalisation and added to its input."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, mask: Tensor | None):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, hidden),
                gelu=nn.GELU() if activation == GELU else QuickGELU(),
                c_proj=nn.Linear(hidden, width),
            )
        )
        self.ln_2 = LayerNorm(width)
        self.attn_mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (L, B, D), as in the stock block."""
        mask = None if self.attn_mask is None else self.attn_mask.to(dtype=x.dtype, device=x.device)
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """The blocks of a side."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, activation: str, mask: Tensor | None = None):
        super().__init__()
        self.width, self.layers = width, layers
        blocks = (ResidualAttentionBlock(width, heads, hidden, activation, mask) for _ in range(layers))
        self.resblocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (L, B, D)."""
        out: Tensor = self.resblocks(x)
        return out


class VisionTransformer(nn.Module):
    """The image side."""

    def __init__(self, found: Mapping[str, int], design: Design):
        super().__init__()
        width, patch, grid = found["image width"], found["patch"], found["pixels"] // found["patch"]
        self.input_resolution, self.output_dim = found["pixels"], found["embed"]
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(grid * grid + 1, width))
        self.ln_pre = LayerNorm(width)
        hidden = found["image hidden"]
        self.transformer = Transformer(found["image layers"], width, design.heads[1], hidden, design.activation)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, found["embed"]))

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W)."""
        x = self.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, D)
        first = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype))
        x = self.transformer(x.transpose(0, 1))[0]  # (B, D)
        features: Tensor = self.ln_post(x) @ self.proj
        return features


def put_text(model: nn.Module, found: Mapping[str, int], design: Design) -> None:
    """Give a module the parts of a text side, as attributes.

    Args:
        model: gets them.
        found: vocabulary, positions, embed, and the text side's layers, width and hidden width, named as in
            infer_shape.py.
        design: how they are run.
    """
    width, length = found["text width"], found["positions"]
    mask = torch.full((length, length), float("-inf"), device="cpu").triu_(1)
    hidden = found["text hidden"]
    model.transformer = Transformer(found["text layers"], width, design.heads[0], hidden, design.activation, mask)
    model.token_embedding = nn.Embedding(found["vocabulary"], width)
    model.positional_embedding = nn.Parameter(torch.empty(length, width))
    model.ln_final = LayerNorm(width)
    model.text_projection = nn.Parameter(torch.empty(width, found["embed"]))


class PlainCLIP(nn.Module):
    """A CLIP of both sides.

    Args:
        found: what infer_shape.measure() gave for its tensors.
        design: how they are run.
    """

    def __init__(self, found: Mapping[str, int], design: Design):
        super().__init__()
        self.context_length, self.vocab_size = found["positions"], found["vocabulary"]
        self.visual = VisionTransformer(found, design)
        put_text(self, found, design)
        self.logit_scale = nn.Parameter(torch.empty(()))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the matrices."""
        return self.visual.conv1.weight.dtype

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W)."""
        features: Tensor = self.visual(image.to(self.dtype))
        return features

    def encode_text(self, text: Tensor) -> Tensor:
        """Features (B, E) of token ids (B, L), read at the end token, the highest id."""
        return encode_text(self, text)

    def forward(self, image: Tensor, text: Tensor) -> Any:
        """(logits (images, texts), their transpose)."""
        images, texts = F.normalize(self.encode_image(image), dim=-1), F.normalize(self.encode_text(text), dim=-1)
        logits = self.logit_scale.exp() * images @ texts.t()
        return logits, logits.t()


def encode_text(clip_model: Any, text: Tensor) -> Tensor:
    """Features (B, E) of token ids (B, L) by a stock text side, read at the end token, the highest id."""
    kind = clip_model.dtype
    x = clip_model.token_embedding(text).to(kind) + clip_model.positional_embedding.to(kind)
    x = clip_model.ln_final(clip_model.transformer(x.transpose(0, 1)).transpose(0, 1))
    last: Tensor = x[torch.arange(len(x), device=x.device), text.argmax(dim=-1)]
    features: Tensor = last.to(kind) @ clip_model.text_projection
    return features


def build(state: dict[str, Tensor], found: Mapping[str, int], design: Design) -> CLIP:
    """A CLIP whose parameters are these tensors (OpenAI's names, as infer_shape.measure() found them)."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # without memory
        model = PlainCLIP(found, design)
    model.load_state_dict(state, assign=True)
    return cast(CLIP, model.eval())
