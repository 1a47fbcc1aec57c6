"""CLIP's two encoders, run from a stock model's own weights with prompt tokens put in by a schedule.

Both take one tensor of new tokens per layer (or None) and the schedule says how many of the present prompt tokens go
first. Source of the token order: MPL (arXiv 2502.14125), MaPLe (arXiv 2210.03117).

Shapes: B images, C classes, L tokens, D width of the side, E joint width, n prompt tokens.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from modprompt.blocks import run_block
from modprompt.prompts import Additions
from modprompt.schedule import Schedule


def _recompose(x: Tensor, start: int, present: int, remove: int, new: Optional[Tensor]) -> Tensor:
    """x (B, L, D) without the last `remove` of the `present` prompt tokens at `start`, with `new` (n, D) after them."""
    if not remove and new is None:
        return x
    parts = [x[:, : start + present - remove]]
    if new is not None:
        parts.append(new.to(x.dtype).expand(x.shape[0], -1, -1))
    parts.append(x[:, start + present :])
    return torch.cat(parts, dim=1)


class VisionEncoder(nn.Module):
    """Image features of a CLIP vision transformer; prompt tokens stand at the end of the sequence."""

    def __init__(self, visual: nn.Module, schedule: Schedule):
        super().__init__()
        self.visual = visual
        self.schedule = schedule

    def _embed(self, image: Tensor) -> Tensor:
        visual = self.visual
        x = visual.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, D)
        first = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        return torch.cat([first, x], dim=1) + visual.positional_embedding.to(x.dtype)

    def forward(self, image: Tensor, additions: Additions) -> Tensor:
        """Features (B, E) of images (B, 3, H, W); `additions` holds one (n, D) tensor or None per layer."""
        x = self._embed(image.to(self.visual.conv1.weight.dtype))
        start, present = x.shape[1], 0
        for layer, (block, step) in enumerate(zip(self.visual.transformer.resblocks, self.schedule)):
            x = _recompose(x, start, present, step.remove, additions[layer])
            present += step.add - step.remove
            if layer == 0:
                x = self.visual.ln_pre(x)
            x = run_block(block, x)
        return self.visual.ln_post(x[:, 0]) @ self.visual.proj


class ResNetEncoder(nn.Module):
    """Image features of a CLIP ResNet, which has no layers for prompts."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual

    def forward(self, image: Tensor, additions: Additions) -> Tensor:
        """Features (B, E) of images (B, 3, H, W); `additions` is not read."""
        return self.visual(image.type(self.visual.conv1.weight.dtype))


def image_encoder(visual: nn.Module, schedule: Schedule) -> nn.Module:
    """The encoder for the image side of a stock CLIP; on a ResNet the schedule is that of no layers."""
    return VisionEncoder(visual, schedule) if hasattr(visual, "transformer") else ResNetEncoder(visual)


class TextEncoder(nn.Module):
    """Class features of CLIP's text transformer; prompt tokens stand behind the start token.

    The tokens of layer 0 are part of the embedded prompts, so they get a positional embedding as words do.
    """

    def __init__(self, clip_model: nn.Module, schedule: Schedule):
        super().__init__()
        self.transformer = clip_model.transformer
        self.positional_embedding = clip_model.positional_embedding
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection
        self.schedule = schedule

    def forward(self, prompts: Tensor, end: Tensor, additions: Additions) -> Tensor:
        """Features (C, E) of embedded prompts.

        Args:
            prompts: embedded class prompts (C, L, D), the context of layer 0 at positions 1..n.
            end: position of each prompt's end-of-text token (C,).
            additions: one (n, D) tensor or None per layer; layer 0's is not read.
        """
        length = int(end.max()) + 1  # attention is causal: nothing behind the last end token reaches a feature
        x = prompts[:, :length] + self.positional_embedding[:length].to(prompts.dtype)
        present = self.schedule[0].add
        for layer, (block, step) in enumerate(zip(self.transformer.resblocks, self.schedule)):
            if layer > 0:
                x = _recompose(x, 1, present, step.remove, additions[layer])
                present += step.add - step.remove
            x = run_block(block, x, causal=True)
        shift = present - self.schedule[0].add  # how far the schedule moved the end tokens
        x = x[torch.arange(len(end), device=x.device), end + shift]
        return self.ln_final(x).to(self.text_projection.dtype) @ self.text_projection
