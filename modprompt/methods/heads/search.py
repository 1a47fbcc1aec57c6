"""The search for alpha and beta of a cache on validation images: one product of affinities for the whole grid.

Shapes: B images, C classes, N cached images.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 0.1


class Grid(NamedTuple):
    """The values that are tried: from 0.1 up to the largest, exclusive, in equal steps.

    Attributes:
        most_beta: the end of beta's range.
        most_alpha: the end of alpha's.
        betas: how many values of beta.
        alphas: how many of alpha.
    """

    most_beta: float = 7.0
    most_alpha: float = 3.0
    betas: int = 200
    alphas: int = 20

    def values_beta(self) -> list[float]:
        """All values of beta, ascending."""
        return _values(self.most_beta, self.betas)

    def values_alpha(self) -> list[float]:
        """All values of alpha, ascending."""
        return _values(self.most_alpha, self.alphas)


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        beta: sharpness of the affinities.
        alpha: weight of the cache.
        correct: how many of the images are classified correctly with them.
        images: how many there are.
    """

    beta: float
    alpha: float
    correct: int
    images: int


def _values(most: float, steps: int) -> list[float]:
    return [i * (most - _LEAST) / steps + _LEAST for i in range(steps)]


def search(logits: Tensor, affinity: Tensor, values: Tensor, labels: Tensor, grid: Grid) -> Found:
    """The beta and alpha with the most correct images; the first of equals, beta in the outer loop.

    Source: Tip-Adapter (arXiv 2207.09519): logits + alpha exp(-beta (1 - affinity)) values.

    Args:
        logits: without the cache (B, C).
        affinity: cosines of the images with the cached ones (B, N).
        values: classes of the cached images (N, C).
        labels: of the images (B,).
        grid: the values to try.
    """
    best = Found(0.0, 0.0, -1, len(labels))
    for beta in grid.values_beta():
        cache = torch.mul(affinity, beta).sub_(beta).exp_() @ values  # in one buffer: it is as large as the affinities
        for alpha in grid.values_alpha():
            correct = int(((logits + cache * alpha).argmax(1) == labels).sum())
            if correct > best.correct:
                best = Found(beta, alpha, correct, len(labels))
    return best
