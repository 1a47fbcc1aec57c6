"""The normalisations inside layers, learned in place of CLIP's own, which stay as they are.

Shapes: D width of a side.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import Block
from modprompt.engine.layer_change import Changes, LayerChange, MergedBlock


class LearnedNorm(nn.LayerNorm):
    """A normalisation that starts as a CLIP's, computes in float32 and returns the type of its input.

    Args:
        frozen: the CLIP's, of weight and bias (D,).
    """

    def __init__(self, frozen: nn.LayerNorm):
        super().__init__(frozen.weight.shape, eps=frozen.eps)
        with torch.no_grad():
            self.weight.copy_(frozen.weight)
            self.bias.copy_(frozen.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class OtherNorms(LayerChange):
    """A layer with other normalisations.

    Args:
        ln_1: before attention.
        ln_2: before the feed-forward part.
    """

    merges = True

    def __init__(self, ln_1: LearnedNorm, ln_2: LearnedNorm):
        self.ln_1, self.ln_2 = ln_1, ln_2

    def merged(self, block: Block) -> Block:
        return cast(Block, MergedBlock(block, ln_1=self.ln_1, ln_2=self.ln_2))


class LayerNorms(nn.Module):
    """Learned ln_1 and ln_2 of a CLIP's layers; draws no random numbers.

    Args:
        text: the layers of the text side, from its first.
        vision: those of the vision side.
        first_text: how many of these keep CLIP's own.
        first_vision: likewise.
    """

    def __init__(self, text: Sequence[Block], vision: Sequence[Block], first_text: int = 0, first_vision: int = 0):
        super().__init__()
        self.text = _learned(text, first_text)
        self.vision = _learned(vision, first_vision)

    @property
    def on_text(self) -> bool:
        """Whether some are on the text side."""
        return bool(len(self.text))

    @property
    def on_images(self) -> bool:
        """Whether some are on the vision side."""
        return bool(len(self.vision))

    def text_changes(self, layers: int) -> Changes:
        """The changes of the text side's layers."""
        return _changes(self.text, layers)

    def vision_changes(self, layers: int) -> Changes:
        """The changes of the vision side's layers."""
        return _changes(self.vision, layers)


def _learned(blocks: Sequence[Block], first: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            str(layer): nn.ModuleDict({"ln_1": LearnedNorm(block.ln_1), "ln_2": LearnedNorm(block.ln_2)})
            for layer, block in enumerate(blocks)
            if layer >= first
        }
    )


def _changes(learned: nn.ModuleDict, layers: int) -> Changes:
    own = {name: cast(nn.ModuleDict, norms) for name, norms in learned.items()}
    made = {
        name: OtherNorms(cast(LearnedNorm, two["ln_1"]), cast(LearnedNorm, two["ln_2"])) for name, two in own.items()
    }
    return [made.get(str(layer)) for layer in range(layers)] if made else ()
