"""What a method minimises: a weighted sum of terms; a rule may change its gradients.

Shapes: B images, C classes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.model import Output


class Term(NamedTuple):
    """A part of a loss: `of(output, images (B, 3, H, W), labels (B,))` returns a scalar."""

    name: str
    weight: float
    of: Callable[[Output, Tensor, Tensor], Tensor]


class Rule(Protocol):
    """A change of a loss's gradients before the step.

    It acts where a loss is made, so that loss scales, recomputed chunks and users' loops need no change.
    """

    noted: dict[str, Tensor]  # scalars of the last step by name, for the log

    def __call__(self, loss: Tensor, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """A scalar with the loss's value, whose backward pass computes the gradients of the step."""


def plain_log(output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
    """What the log says of a step, by name; without gradients, on the device: the loss."""
    return {"loss": loss}


class Objective(NamedTuple):
    """The weighted sum of its terms, added up in their order; with a rule, that computes the gradients.

    `log(output, labels (B,), loss)` is what the log says of a step, besides what the rule notes.
    """

    terms: tuple[Term, ...]
    rule: Rule | None = None
    log: Callable[[Output, Tensor, Tensor], Mapping[str, Tensor]] = plain_log

    def plus(self, *terms: Term) -> "Objective":
        """The same with more terms at the end."""
        return self._replace(terms=(*self.terms, *terms))

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the tokens between products of the teachers in it."""
        parts: list[Any] = [*(term.of for term in self.terms), self.rule]
        for part in parts:
            if hasattr(part, "set_stream"):
                part.set_stream(stream)

    def noted(self) -> Mapping[str, Tensor]:
        """What the log says of the last step, by name, in addition to the method's own."""
        return {} if self.rule is None else self.rule.noted

    def loss(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """The sum of the terms, each times its weight."""
        total: Tensor | None = None
        for term in self.terms:
            value = term.of(output, images, labels)
            value = value if term.weight == 1 else term.weight * value
            total = value if total is None else total + value
        assert total is not None  # an objective has a term
        return total if self.rule is None else self.rule(total, output, images, labels)


def cross_entropy(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    """The cross entropy of logits (B, C), in float32."""
    return F.cross_entropy(output.logits.float(), labels)


CROSS_ENTROPY = Objective((Term("cross_entropy", 1.0, cross_entropy),))
