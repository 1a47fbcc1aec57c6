"""Coreset (Sener and Savarese, ICLR 2018): greedy k-centre on image features.

Shapes: U images without a label, L with one, E joint width, n points of a block.
"""

from typing import List

import torch
from torch import Tensor

from modprompt.active.acquisition import Choice, Seen, acquisition
from modprompt.active.ties import first_largest

FARTHEST = 4.0  # squared distance of two features of norm 1, at most
BLOCK = 2**24  # distances that are computed at once: 128 MiB


@acquisition("coreset", "distance", passes=2)
def coreset(seen: Seen, number: int) -> Choice:
    """The image farthest from all that have a label or are chosen, again and again; the first in the pool in ties.

    Without a label all are equally far at first.
    """
    points = seen.features.double()
    squares = points.norm(dim=1) ** 2
    nearest = _nearest(points, squares, seen.labelled_features.double())
    positions: List[int] = []
    scores: List[float] = []
    for _ in range(min(number, len(points))):
        found = first_largest(nearest)
        positions.append(found)
        scores.append(float(nearest[found]) ** 0.5)
        nearest = torch.minimum(nearest, _squared(points, squares, points[found : found + 1])[:, 0])
        nearest[found] = -1  # below every distance, for good
    return Choice(positions, scores)


def _nearest(points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    """(U,) squared distance of each point to the nearest of (L, E) centres."""
    nearest = torch.full_like(squares, FARTHEST)
    for block in centres.split(max(1, BLOCK // max(1, len(points)))):
        if len(block):
            nearest = torch.minimum(nearest, _squared(points, squares, block).amin(dim=1))
    return nearest


def _squared(points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    """(U, n) squared distances to (n, E) centres; never below zero."""
    products = points @ centres.t()
    squared: Tensor = squares[:, None] + centres.norm(dim=1) ** 2
    return squared.sub_(products, alpha=2).clamp_(min=0)
