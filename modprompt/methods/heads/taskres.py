"""TaskRes (arXiv 2211.10277): a learned vector beside each class feature.

Shapes: B images, C classes, D joint width.
"""

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor, nn

from modprompt.fields import setting
from modprompt.methods.heads.bank import Bank, are_others, cosines
from modprompt.methods.heads.base import Head
from modprompt.methods.heads.enhanced_base import EnhancedBase
from modprompt.methods.heads.head_groups import FreshViewsHead
from modprompt.methods.parts.capabilities import Logging


@dataclass(frozen=True, repr=False)
class TaskRes(EnhancedBase, FreshViewsHead):
    """Residuals of the class features, from zeros on."""

    node = "TRAINER.TaskRes"
    logging = Logging(accuracy=True)

    residual_scale: float = setting(1.0, "what residuals are multiplied by", least=0)

    def head(self, names: Sequence[str], width: int) -> "TaskResHead":
        """The residuals."""
        return TaskResHead(names, width, self.residual_scale)


class TaskResHead(Head):
    """s f.norm(t + a X), of raw class features t, with X (C, D) from zeros on.

    Args:
        names: of the C classes.
        width: D.
        residual_scale: a.
    """

    rows = {"text_feature_residuals": 0, "base_text_features": 0}
    reads_text = True
    text_feature_residuals: nn.Parameter
    base_text_features: Tensor  # t as it was in training; logits take that of the classes at hand

    def __init__(self, names: Sequence[str], width: int, residual_scale: float):
        super().__init__(names)
        self.residual_scale = residual_scale
        self.text_feature_residuals = nn.Parameter(torch.zeros(len(names), width))
        self.register_buffer("base_text_features", torch.zeros(len(names), width))

    def build(self, bank: Bank, scale: Tensor) -> None:
        """Remember the class features, unless each image has its own."""
        if bank.text.dim() == 3:
            self.base_text_features = self.pooled(bank.text)

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C)."""
        return scale * cosines(image, text + self.residual_scale * self.text_feature_residuals)

    def is_of_others(self, text: Tensor) -> bool:
        """Whether the class features in it are others."""
        return are_others(self.base_text_features, text)
