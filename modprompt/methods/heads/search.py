"""The search for alpha and beta of a cache on validation images: one product of affinities for the whole grid.

Shapes: B images, C classes, N cached images.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 0.1


class Grid(NamedTuple):
    """The values to try, `betas` and `alphas` of them: from 0.1 up to the largest, exclusive, in equal steps."""

    most_beta: float
    most_alpha: float
    betas: int
    alphas: int


class Found(NamedTuple):
    """What a search found.

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
    for beta in _values(grid.most_beta, grid.betas):
        cache = torch.mul(affinity, beta).sub_(beta).exp_() @ values  # in one buffer: it is as large as the affinities
        for alpha in _values(grid.most_alpha, grid.alphas):
            correct = int(((logits + cache * alpha).argmax(1) == labels).sum())
            if correct > best.correct:
                best = Found(beta, alpha, correct, len(labels))
    return best
