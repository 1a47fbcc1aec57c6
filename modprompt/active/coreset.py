"""Coreset (Sener and Savarese, ICLR 2018): greedy k-centre on image features.

Shapes: U images without a label, L with one, E joint width, n points of a block.
"""

import torch
from torch import Tensor

from modprompt.active.acquisition import Choice, Seen, acquisition
from modprompt.active.blocks import first_largest

FARTHEST = 4.0  # squared distance of two features of norm 1, at most
BLOCK = 2**24  # distances that are computed at once: 128 MiB
CENTRES = 64  # after so many, the distances of all points are updated in one product
TOGETHER = 32  # points that are updated at once in between


@acquisition("coreset", "distance", passes=2)
def coreset(seen: Seen, number: int) -> Choice:
    """The image farthest from all that have a label or are chosen, again and again; the first in the pool in ties.

    Without labels all are equally far at first.
    """
    points = seen.features.double()
    squares = points.norm(dim=1) ** 2
    nearest = _nearest(points, squares, seen.labelled_features.double())
    number = min(number, len(points))
    positions: list[int] = []
    scores: list[float] = []
    while len(positions) < number:
        found = _farthest(points, squares, nearest, min(CENTRES, number - len(positions)))
        positions += found
        scores += nearest[found].sqrt().tolist()
        nearest = torch.minimum(nearest, _squared(points, squares, points[found]).amin(dim=1))
        nearest[positions] = -1  # below every distance
    return Choice(positions, scores)


def _farthest(points: Tensor, squares: Tensor, nearest: Tensor, number: int) -> list[int]:
    """The next so many centres.

    A distance to the nearest centre can only shrink, so an old one is an upper bound: only the point that is farthest
    by these bounds is compared with the centres added since.

    Args:
        points: (U, E).
        squares: (U,) their squared norms.
        nearest: (U,) squared distances to the nearest centre; updated for the points returned.
        number: how many.
    """
    bounds, known = nearest.clone(), torch.zeros_like(nearest)  # known: how many new centres a bound takes into account
    found: list[int] = []
    while len(found) < number:
        here = first_largest(bounds)
        if known[here] < len(found):
            old = known < len(found)
            rows = bounds.where(old, -torch.ones_like(bounds)).topk(min(TOGETHER, len(bounds))).indices
            rows[-1] = here  # the first of equal ones
            squared = _squared(points[rows], squares[rows], points[found]).amin(dim=1)
            bounds[rows] = torch.minimum(bounds[rows], squared)
            known[rows] = len(found)
            continue
        found.append(here)
        nearest[here] = bounds[here]
        bounds[here], known[here] = -1, number
    return found


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
