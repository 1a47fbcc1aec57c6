"""Core-set selection (Sener and Savarese, ICLR 2018): greedy k-centre on image features.

Shapes: U images without a label, E joint width, n centres.
"""

import torch
from torch import Tensor

from modprompt.active.acquisition import FEATURES, Choice, Seen, acquisition, first_largest, rows_of

FARTHEST = 4.0  # squared distance of two features of norm 1, at most
CENTRES = 64  # whose distances to all points are computed in one product
TOGETHER = 32  # points that are updated at once in between


@acquisition("coreset", "distance", passes=2, needs=(FEATURES,))
def coreset(seen: Seen, number: int) -> Choice:
    """The image farthest from all that have a label or are chosen, again and again; the first in the pool in ties.

    Without labels all are equally far at first. A distance to the nearest centre can only shrink: between products with
    all points, only those that are farthest by their old distance are compared with the newest centres.
    """
    points, number = seen.features, min(number, len(seen.features))
    nearest = torch.full((len(points),), FARTHEST, dtype=torch.float64)  # squared; -1: chosen
    _add(nearest, points, seen.labelled_features)
    positions: list[int] = []
    scores: list[float] = []
    while len(positions) < number:
        bounds, compared = nearest.clone(), torch.zeros(len(points), dtype=torch.long)  # with so many of the newest
        newest: list[int] = []
        while len(newest) < min(CENTRES, number - len(positions)):
            farthest = first_largest(bounds)
            if compared[farthest] == len(newest):
                newest.append(farthest)
                scores.append(float(bounds[farthest].sqrt()))
                bounds[farthest], compared[farthest] = -1, CENTRES
            else:
                old = bounds.masked_fill(compared >= len(newest), -1)
                rows = old.topk(min(TOGETHER, len(old))).indices
                rows[-1] = farthest  # the first of equal ones
                bounds[rows] = _nearer(bounds[rows], points[rows], points[newest])
                compared[rows] = len(newest)
        _add(nearest, points, points[newest])
        positions += newest
        nearest[positions] = -1
    return Choice(positions, scores)


def _add(nearest: Tensor, points: Tensor, centres: Tensor) -> None:
    """Update squared distances (U,) of points (U, E) to their nearest centre by new centres (n, E), in blocks."""
    size = rows_of(points)
    for own, block in zip(nearest.split(size), points.split(size)) if len(centres) else ():
        exact = block.double()
        for some in centres.split(CENTRES):
            own.copy_(_nearer(own, exact, some))


def _nearer(nearest: Tensor, points: Tensor, centres: Tensor) -> Tensor:
    """(U,) the smaller of a distance and that to the nearest of some centres, computed in float64."""
    points, centres = points.double(), centres.double()
    squared = points.norm(dim=1)[:, None] ** 2 + centres.norm(dim=1) ** 2 - 2 * (points @ centres.t())
    return torch.minimum(nearest, squared.clamp(min=0).amin(dim=1))
