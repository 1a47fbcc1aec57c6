"""A dual encoder of which a side is not a stock CLIP's, but a package's own module, held here.

A side that is stock keeps the attributes of structure.py, so that the engine runs it as ever; one that is not is a
tower, which gives features and nothing more. Towers stay in eval mode inside whatever trains: BatchNorm and drop path
would change features (ConvNeXt, ViTamin, MobileCLIP).

Shapes: B images, C texts, L tokens, E joint width.
"""

import contextlib
from typing import Any, Callable, ContextManager, Optional, TypeVar, Union

import torch
from torch import Tensor, nn

from modprompt.clip import stock_model
from modprompt.clip.structure import ResNet, VisionTransformer
from modprompt.clip.tokenizers import Tokenizer

T = TypeVar("T", bound="Tower")
STOCK_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


class Tower(nn.Module):
    """A package's module that encodes one side; its `module` is kept as the package made it.

    Its weights are float32 and stay so: PREC amp, fp16 and bf16 have its products run under autocast on a GPU.

    Args:
        module: the package's own.
        encode: from inputs to features (B, E), not normalised; a function of `module` that holds no tensors of its own.

    Attributes:
        products: the type that matrices of a stock side would have been cast to; None for float32.
    """

    products: Optional[torch.dtype] = None

    def __init__(self, module: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.module = module
        self._encode = encode
        self.train()

    @property
    def feature_type(self) -> torch.dtype:
        """The type of its weights, which is that of the features."""
        return next(self.module.parameters()).dtype

    def train(self: T, mode: bool = True) -> T:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), or (C, E) of token ids (C, L)."""
        with self.autocast(inputs.device):
            return self._encode(self.module, inputs).to(self.feature_type)

    def autocast(self, device: torch.device) -> ContextManager[Any]:
        """Within it products on a device have the type that `products` says, on a GPU."""
        if self.products is None or device.type == "cpu":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.products)


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

    Args:
        visual: the image side.
        text: the text side: a tower, or a module with the attributes of a stock one, which are taken over.
        tokenizer: what makes ids of its texts.
        width: E.
        logit_scale: a logarithm; kept as a float32 parameter, whatever the type of the rest.
        logit_bias: what a sigmoid of each class's own takes beside it; None for most.

    Attributes:
        unshown: what no tensor shows of how it is run, as plain text; a part of its fingerprint.
    """

    unshown: str = ""

    text_projection: nn.Parameter  # as the other parts of a stock text side

    def __init__(
        self,
        visual: Union[VisionTransformer, ResNet, ImageTower],
        text: nn.Module,
        tokenizer: Tokenizer,
        width: int,
        logit_scale: float,
        logit_bias: Optional[float] = None,
    ):
        super().__init__()
        self.visual = visual
        self.text = text if isinstance(text, TextTower) else None
        if self.text is None:
            for name in STOCK_TEXT:
                setattr(self, name, getattr(text, name))
        self.tokenizer = tokenizer
        self.width = width
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale, dtype=torch.float32))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(logit_bias, dtype=torch.float32))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The type of what prompts are made in: a stock side's, or that of the towers' products."""
        if self.text is None:
            return self.text_projection.dtype
        if isinstance(self.visual, ImageTower):
            return self.visual.products or self.visual.feature_type
        return self.visual.conv1.weight.dtype

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), not normalised."""
        features: Tensor = self.visual(image)
        return features

    def encode_text(self, ids: Tensor) -> Tensor:
        """Features (C, E) of token ids (C, L), not normalised."""
        features: Tensor = stock_model.encode_text(self, ids) if self.text is None else self.text(ids)
        return features
