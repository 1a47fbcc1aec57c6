"""CLIP-Adapter (arXiv 2110.04544): a small residual network behind the image features.

Shapes: B images, C classes, D joint width.
"""

from typing import Sequence

from torch import Tensor, nn

from modprompt.methods.heads.bank import cosines
from modprompt.methods.heads.base import Head


class CLIPAdapterHead(Head):
    """s norm(r A(f) + (1 - r) f).t, with A(f) = relu(M2 relu(M1 f)) of raw features; M1 (D/k, D), M2 (D, D/k).

    Args:
        names: of the C classes, which it does not hang on.
        width: D.
        ratio: r, the share of the adapted features.
        reduction: k, how much narrower the network is in the middle.
    """

    def __init__(self, names: Sequence[str], width: int, ratio: float, reduction: int):
        super().__init__(names)
        self.ratio = ratio
        narrow = max(width // reduction, 1)
        self.fc = nn.Sequential(
            nn.Linear(width, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, width, bias=False), nn.ReLU()
        )

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C)."""
        return scale * cosines(self.ratio * self.fc(image) + (1 - self.ratio) * image, text)
