"""TaskRes (arXiv 2211.10277): a learned vector beside each class feature.

Shapes: B images, C classes, D joint width.
"""

from typing import Sequence

import torch
from torch import Tensor, nn

from modprompt.heads.bank import cosines
from modprompt.heads.base import Head


class TaskResHead(Head):
    """s f.norm(t + a X), of raw class features t, with X (C, D) from zeros on.

    Args:
        names: of the C classes.
        width: D.
        residual_scale: a.
    """

    rows = {"text_feature_residuals": 0}
    text_feature_residuals: nn.Parameter

    def __init__(self, names: Sequence[str], width: int, residual_scale: float):
        super().__init__(names)
        self.residual_scale = residual_scale
        self.text_feature_residuals = nn.Parameter(torch.zeros(len(names), width))

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C)."""
        return scale * cosines(image, text + self.residual_scale * self.text_feature_residuals)
