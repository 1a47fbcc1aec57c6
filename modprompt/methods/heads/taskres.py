"""TaskRes (arXiv 2211.10277): a learned vector added to each class feature.

Shapes: B images, C classes, D joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modprompt.fields import setting
from modprompt.methods.heads.base import Bank, Head, are_others, cosines
from modprompt.methods.heads.method import EnhancedBase, FreshViewsHead
from modprompt.methods.parts.capabilities import Logging


@dataclass(frozen=True, repr=False)
class TaskRes(EnhancedBase, FreshViewsHead):
    """Residuals of the class features, starting from zeros."""

    node = "TRAINER.TaskRes"
    logging = Logging(accuracy=True)

    residual_scale: float = setting(1.0, "the factor on the learned residuals of the class features", least=0)

    def head(self, names: Sequence[str], width: int) -> "TaskResHead":
        return TaskResHead(names, width, self.residual_scale)


class TaskResHead(Head):
    """s f.norm(t + a X), of raw class features t, with X (C, D) starting from zeros.

    Args:
        residual_scale: a.
    """

    rows = {"text_feature_residuals": 0, "base_text_features": 0}
    reads_text = True
    text_feature_residuals: nn.Parameter
    base_text_features: Tensor  # t in training; logits use that of the current classes

    def __init__(self, names: Sequence[str], width: int, residual_scale: float):
        super().__init__(names)
        self.residual_scale = residual_scale
        self.text_feature_residuals = nn.Parameter(torch.zeros(len(names), width))
        self.register_buffer("base_text_features", torch.zeros(len(names), width))

    def build(self, bank: Bank, scale: Tensor) -> None:
        if bank.text.dim() == 3:
            self.base_text_features = self.pooled(bank.text)

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return scale * cosines(image, text + self.residual_scale * self.text_feature_residuals)

    def is_of_others(self, text: Tensor) -> bool:
        return are_others(self.base_text_features, text)
