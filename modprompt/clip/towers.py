"""A dual encoder of open_clip's modules.

A stock side has the attributes of structure.py, so that the engine runs it as usual; another one is a tower, which
gives features; prompts can go into some towers (tower_sides.py). Towers always stay in eval mode: BatchNorm and drop
path would change features (ConvNeXt, ViTamin, MobileCLIP).

Shapes: B images, C texts, L tokens, E joint width.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.structure import ResNet, VisionTransformer
from modprompt.clip.tokenizers import Tokenizer

T = TypeVar("T", bound="Tower")
STOCK_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


class Tower(nn.Module):
    """A package's module that encodes one side, unchanged in `module`, to features (B, E) that are not normalised.

    Its weights stay float32: with PREC amp, fp16 and bf16 its products run under autocast on a GPU, in the type
    `products`, to which a stock side's matrices would be cast (None: float32). `encode` holds no tensors of its own.
    """

    products: torch.dtype | None = None

    def __init__(self, module: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.module = module
        self._encode = encode
        self.train()

    @property
    def feature_type(self) -> torch.dtype:
        """The type of its weights and of its features."""
        return next(self.module.parameters()).dtype

    def train(self: T, mode: bool = True) -> T:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), or (C, E) of token ids (C, L)."""
        with self.autocast(inputs.device):
            return self._encode(self.module, inputs).to(self.feature_type)

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """A context in which products on a GPU have the type `products`; it does nothing on a CPU."""
        if self.products is None or device.type == "cpu":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.products)


class ImageTower(Tower):
    """An image side that is not stock, of images with sides of so many pixels."""

    def __init__(self, module: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor], pixels: int):
        super().__init__(module, encode)
        self.input_resolution = pixels

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W)."""
        return super().forward(image.to(self.feature_type))


class TextTower(Tower):
    """A text side that is not stock: token ids (C, L), of the length of its tokenizer, to features (C, E)."""


class TowerCLIP(nn.Module):
    """A dual encoder that the `clip` package does not build; other code asks about its sides by clip/sides.py.

    A stock text side is in its attributes (transformer, token_embedding, positional_embedding, ln_final,
    text_projection, as in structure.py), else `text` is a TextTower. `visual` is a stock side or an ImageTower.

    Args:
        visual: the image side.
        text: the text side: a tower, or a module with the attributes of a stock one, which move here.
        tokenizer: its tokenizer.
        width: E.
        logit_scale: a logarithm; kept as a float32 parameter, whatever the type of the rest.
        logit_bias: added to logits if each class has a sigmoid of its own; None for most.
    """

    unshown: str = ""  # how it is run, as far as tensors do not show it; a part of its fingerprint
    text_projection: nn.Parameter  # like the other parts of a stock text side

    def __init__(
        self,
        visual: VisionTransformer | ResNet | ImageTower,
        text: nn.Module,
        tokenizer: Tokenizer,
        width: int,
        logit_scale: float,
        logit_bias: float | None = None,
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
        """The type in which prompts are made: a stock side's, or that of the towers' products."""
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
        """Features (C, E) of token ids (C, L), not normalised; a stock text side is read at the highest id, the end."""
        if self.text is not None:
            features: Tensor = self.text(ids)
            return features
        positions, kind = self.get_parameter("positional_embedding"), self.dtype
        x = self.get_submodule("token_embedding")(ids).to(kind) + positions.to(kind)
        mask = torch.full((len(positions),) * 2, float("-inf"), dtype=kind, device=x.device).triu(1)
        x = self.get_submodule("ln_final")(self.get_submodule("transformer")(x, attn_mask=mask))
        last: Tensor = x[torch.arange(len(x), device=x.device), ids.argmax(dim=-1)]
        return last.to(kind) @ self.text_projection

    def forward(self, image: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(logits (images, texts), their transpose)."""
        images, texts = F.normalize(self.encode_image(image), dim=-1), F.normalize(self.encode_text(ids), dim=-1)
        logits = self.logit_scale.exp() * images @ texts.t()
        logits = logits if self.logit_bias is None else logits + self.logit_bias
        return logits, logits.t()
