"""A dual encoder whose towers are not a stock CLIP's: a package's own modules, held here, and what all ask of a CLIP.

A side that is stock keeps the attributes of structure.py, so that the engine runs it as ever; one that is not is a tower,
which gives features and nothing more. Towers stay in eval mode inside whatever trains: BatchNorm and drop path would
change features (ConvNeXt, ViTamin, MobileCLIP).

Shapes: B images, C texts, L tokens, E joint width.
"""

from typing import Any, Callable, Mapping, NamedTuple, Optional, TypeVar, Union

import torch
from torch import Tensor, nn

from modprompt.clip.structure import CLIP, ResNet, VisionTransformer
from modprompt.clip.tokenizers import CLIP_BPE, Tokenizer

T = TypeVar("T", bound="Tower")


class Tower(nn.Module):
    """A package's module that encodes one side; its `module` is kept as the package made it.

    Args:
        module: the package's own.
        encode: from inputs to features (B, E), not normalised; a function of `module` that holds no tensors of its own.
    """

    def __init__(self, module: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.module = module.eval()
        self._encode = encode

    @property
    def feature_type(self) -> torch.dtype:
        """The type of its weights, which is that of the features."""
        return next(self.module.parameters()).dtype

    def train(self: T, mode: bool = True) -> T:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), or (C, E) of token ids (C, L)."""
        return self._encode(self.module, inputs)


class ImageTower(Tower):
    """An image side that is not stock.

    Args:
        pixels: side of its images.
    """

    def __init__(self, module: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor], pixels: int):
        super().__init__(module, encode)
        self.input_resolution = pixels

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W)."""
        return super().forward(image.to(self.feature_type))


class TextTower(Tower):
    """A text side that is not stock: token ids (C, L), of the length of its tokenizer, to features (C, E)."""


class TowerCLIP(nn.Module):
    """A dual encoder of which at least one side is a tower; clip/sides.py asks it what all code may ask.

    A stock text side stands in its attributes (transformer, token_embedding, positional_embedding, ln_final,
    text_projection, as in structure.py), else `text` is a TextTower. `visual` is a stock side or an ImageTower.

    logit_scale: a logarithm, a float32 parameter, whatever the towers' type; shape ().
    logit_bias: shape (), or None.
    tokenizer: what makes ids of its texts.
    """

    visual: Union[VisionTransformer, ResNet, ImageTower]
    text: Optional[TextTower]
    logit_scale: nn.Parameter
    logit_bias: Optional[nn.Parameter]
    tokenizer: Tokenizer

    @property
    def dtype(self) -> torch.dtype:
        """The type of what prompts are made in."""
        raise NotImplementedError

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), not normalised."""
        raise NotImplementedError

    def encode_text(self, ids: Tensor) -> Tensor:
        """Features (C, E) of token ids (C, L), not normalised."""
        raise NotImplementedError
