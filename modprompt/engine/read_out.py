"""A second feature of each image, read out of the prompt tokens that leave the last layer.

Shapes: B images, n prompt tokens, D width of the vision side, E joint width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class ReadOut(Protocol):
    """What a learner gives the vision encoder to compute such a feature; `MeanTokens` is one."""

    def feature(self, tokens: Tensor, projection: Tensor) -> Tensor:
        """(B, E) of prompt tokens (B, n, D) after ln_post; CLIP's own projection is (D, E)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Any:
        """A copy with `change` applied to each of its tensors."""


class MeanTokens(NamedTuple):
    """The mean of the tokens, times a projection of its own (MMRL, arXiv 2503.08497).

    projection: (D, E).
    added: whether it is added to CLIP's own projection instead of replacing it.
    """

    projection: Tensor
    added: bool = False

    def feature(self, tokens: Tensor, projection: Tensor) -> Tensor:
        """As ReadOut."""
        own = self.projection.to(tokens.dtype)
        return tokens.mean(dim=1) @ (projection + own if self.added else own)

    def map(self, change: Callable[[Tensor], Tensor]) -> "MeanTokens":
        """As ReadOut."""
        return self._replace(projection=change(self.projection))
