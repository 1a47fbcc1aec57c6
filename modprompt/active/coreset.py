"""Coreset (Sener and Savarese, ICLR 2018): greedy k-centre on image features.

Shapes: U images without a label, L with one, E joint width, n centres.
"""

import torch
from torch import Tensor

from modprompt.active.acquisition import Choice, Seen, acquisition, by_row, first_largest, rows_of

FARTHEST = 4.0  # squared distance of two features of norm 1, at most
CENTRES = 64  # whose distances to all points are computed in one product
TOGETHER = 32  # points that are updated at once in between


@acquisition("coreset", "distance", passes=2)
def coreset(seen: Seen, number: int) -> Choice:
    """The image farthest from all that have a label or are chosen, again and again; the first in the pool in ties.

    Without labels all are equally far at first.
    """
    points = seen.features
    squares = by_row(lambda f: f.norm(dim=1) ** 2, points)
    nearest = _nearer(torch.full_like(squares, FARTHEST), points, squares, seen.labelled_features.double())
    number = min(number, len(points))
    positions: list[int] = []
    scores: list[float] = []
    while len(positions) < number:
        centres = _farthest(points, squares, nearest, min(CENTRES, number - len(positions)))
        positions += centres
        scores += nearest[centres].sqrt().tolist()
        nearest = _nearer(nearest, points, squares, points[centres].double())
        nearest[positions] = -1  # below every distance
    return Choice(positions, scores)


def _farthest(points: Tensor, squares: Tensor, nearest: Tensor, number: int) -> list[int]:
    """The next so many centres.

    A distance to the nearest centre can only shrink, so an old one is an upper bound: only the points that are farthest
    by these bounds are compared with the centres added since.

    Args:
        points: (U, E).
        squares: (U,) their squared norms.
        nearest: (U,) squared distances to the nearest centre; updated for the points returned.
        number: how many.
    """
    bounds, known = nearest.clone(), torch.zeros_like(nearest)  # known: how many new centres a bound takes into account
    centres: list[int] = []
    while len(centres) < number:
        farthest = first_largest(bounds)
        if known[farthest] < len(centres):
            old = known < len(centres)
            rows = bounds.where(old, -torch.ones_like(bounds)).topk(min(TOGETHER, len(bounds))).indices
            rows[-1] = farthest  # the first of equal ones
            bounds[rows] = _nearer(bounds[rows], points[rows], squares[rows], points[centres].double())
            known[rows] = len(centres)
            continue
        centres.append(farthest)
        nearest[farthest] = bounds[farthest]
        bounds[farthest], known[farthest] = -1, number
    return centres


def _nearer(nearest: Tensor, points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    """(U,) squared distances of points (U, E) to the nearest centre, with (n, E) new ones; not below 0 for these."""
    size = rows_of(points)
    blocks = zip(nearest.split(size), points.split(size), squares.split(size))
    return torch.cat([_nearer_of_block(own, block.double(), norms, centres) for own, block, norms in blocks])


def _nearer_of_block(nearest: Tensor, points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    for some in centres.split(CENTRES) if len(centres) else ():
        squared = squares[:, None] + some.norm(dim=1) ** 2 - 2 * (points @ some.t())
        nearest = torch.minimum(nearest, squared.clamp(min=0).amin(dim=1))
    return nearest
