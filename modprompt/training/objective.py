"""What a method minimises: a weighted sum of terms.

Shapes: B images, C classes.
"""

from typing import Callable, Dict, NamedTuple, Tuple

import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.model import Output


class Term(NamedTuple):
    """A part of a loss: `of(output, images (B, 3, H, W), labels (B,))` gives a scalar."""

    name: str
    weight: float
    of: Callable[[Output, Tensor, Tensor], Tensor]


class Objective(NamedTuple):
    """The weighted sum of its terms, added up in their order."""

    terms: Tuple[Term, ...]

    def plus(self, *terms: Term) -> "Objective":
        """The same with more terms behind."""
        return Objective((*self.terms, *terms))

    def losses(self, output: Output, images: Tensor, labels: Tensor) -> Dict[str, Tensor]:
        """Each term by name, weighted."""
        return {term.name: _weighted(term, output, images, labels) for term in self.terms}

    def loss(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """Their sum."""
        first, *others = self.losses(output, images, labels).values()
        for other in others:
            first = first + other
        return first


def _weighted(term: Term, output: Output, images: Tensor, labels: Tensor) -> Tensor:
    value = term.of(output, images, labels)
    return value if term.weight == 1 else term.weight * value


def cross_entropy(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    """Of logits (B, C), in float32."""
    return F.cross_entropy(output.logits.float(), labels)


CROSS_ENTROPY = Objective((Term("cross_entropy", 1.0, cross_entropy),))
