"""Logits of a test on their way to the evaluator, which reads them batch by batch."""

from typing import Any

import torch
from torch import Tensor

from modprompt.engine.precision import require_finite
from modprompt.methods.parts.deferred_metrics import waits

MOST_BYTES = 256 * 2**20  # of logits on a GPU: all of ImageNet's in half or single precision


class Predictions:
    """Gives logits to an evaluator: at once on a CPU; from a GPU all together, copied to the CPU, so no batch waits.

    Half precision becomes single precision then, with the same values, since a CPU computes in that.

    Args:
        evaluator: has `process(logits (B, C), labels (B,))`.
    """

    def __init__(self, evaluator: Any):
        self.evaluator = evaluator
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._bytes = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, C), labels (B,).

        Raises:
            FloatingPointError: as hand_over, which is called before they need too much memory.
        """
        if not waits(logits.device):
            self.evaluator.process(logits, labels)
            return
        self._batches.append((logits, labels))
        self._bytes += logits.numel() * logits.element_size()
        if self._bytes >= MOST_BYTES:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the evaluator what it does not have yet.

        Raises:
            FloatingPointError: if a logit is not finite.
        """
        if not self._batches:
            return
        sizes = [len(labels) for _, labels in self._batches]
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*self._batches))
        self._batches, self._bytes = [], 0
        for some, their in zip(logits.split(sizes), labels.split(sizes)):
            some = some if some.dtype == torch.float64 else some.float()
            require_finite(some)
            self.evaluator.process(some, their)
