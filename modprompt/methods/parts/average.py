"""PromptSRC's average of prompts over epochs, weighted by a normal density (arXiv 2307.06948)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modprompt.errors import UserError


class GaussianAverage:
    """Average of the learner over epochs 1..N, epoch e weighted by the normal density N(e; mean, std), sum 1.

    Args:
        epochs: their number N.
        mean: of the density, in epochs.
        std: of the density, in epochs.

    Raises:
        UserError: if std is not positive.
    """

    def __init__(self, epochs: int, mean: float, std: float):
        if std <= 0:
            raise UserError(f"GPA_STD must be more than 0, got {std}")
        numbers = torch.arange(1, epochs + 1, dtype=torch.float64)
        self.weights = torch.softmax(-0.5 * ((numbers - mean) / std) ** 2, dim=0)
        self.epochs = 0  # in the sum so far
        self.total: dict[str, Tensor] = {}

    def add(self, parameters: Mapping[str, Tensor]) -> None:
        """Add the parameters of the next epoch to the sum.

        Raises:
            UserError: if all epochs are in it.
        """
        if self.epochs >= len(self.weights):
            raise UserError(f"the average over epochs (GPA) has had all its {len(self.weights)} epochs")
        weight = self.weights[self.epochs].item()
        for name, value in parameters.items():
            weighted = weight * value.detach().float()
            self.total[name] = self.total[name].to(weighted.device) + weighted if self.epochs else weighted
        self.epochs += 1

    def load_into(self, parameters: Mapping[str, Tensor]) -> None:
        """Replace the parameters that were added by their average."""
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self.total[name])

    def state_dict(self) -> dict[str, object]:
        """What must be kept for resuming."""
        return {"epochs": self.epochs, "total": dict(self.total)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.epochs, self.total = state["epochs"], dict(state["total"])
