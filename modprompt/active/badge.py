"""BADGE (Ash et al., ICLR 2020): k-means++ on the gradients of images, with their predictions as labels.

The gradient of an image is (onehot of its predicted class - p) outer f, C * E numbers. It is never built: with the two
factors a = onehot - p and f of each image, |g - g'|^2 = |a|^2 |f|^2 + |a'|^2 |f'|^2 - 2 (a . a') (f . f').

Shapes: U images without a label, C classes, E joint width.
"""

import numpy as np
import torch
from torch import Tensor

from modprompt.active.acquisition import ROUNDING, Choice, Seen, acquisition, by_row, first_largest, rows_of
from modprompt.data.rounds import PCB_ALONE

_SCORE = "distance of gradients"


class Gradients:
    """Gradients as their factors a and f; what is computed from these is float64.

    Args:
        features: (U, E) the rows f.
        probabilities: (U, C).
    """

    def __init__(self, features: Tensor, probabilities: Tensor) -> None:
        self.features, self.probabilities = features, probabilities
        self.predicted = probabilities.argmax(dim=1)
        self.own = (1 - probabilities.amax(dim=1)).double()  # the entry of a for the predicted class
        rows = torch.arange(len(features)).split(rows_of(probabilities))
        self.error_norms = torch.cat([self.errors(some).norm(dim=1) for some in rows])
        self.feature_norms = by_row(lambda f: f.norm(dim=1), features)
        self.norms = self.error_norms * self.feature_norms

    def errors(self, rows: Tensor) -> Tensor:
        """(n, C) a = onehot of the predicted class minus probabilities, for some rows."""
        p = self.probabilities[rows]
        ones = torch.ones_like(p[:, :1])
        return p.neg_().scatter_add_(1, self.predicted[rows, None], ones).double()

    def nearer(self, nearest: Tensor, position: int) -> Tensor:
        """Squared distances (U,) to the nearest centre, from those before a centre is added at this position.

        0 where a gradient equals the new one up to rounding. Only rows that may become nearer are computed.
        """
        may = (self._least(position) < nearest).nonzero()[:, 0]
        squared = [self._squared(some, position) for some in may.split(rows_of(self.probabilities))]
        return nearest.index_copy(0, may, torch.minimum(nearest[may], torch.cat(squared)))

    def _squared(self, rows: Tensor, position: int) -> Tensor:
        """(n,) squared distances of rows to one of them."""
        centre = rows.new_tensor([position])
        products = self.errors(rows) @ self.errors(centre)[0]
        products *= self.features[rows].double() @ self.features[position].double()
        both = self.norms[rows] ** 2 + self.norms[position] ** 2
        squared = both - 2 * products
        return squared.where(squared > ROUNDING * both, torch.zeros_like(squared))

    def _least(self, position: int) -> Tensor:
        """(U,) lower bounds of the squared distances to one of them, without a matrix product.

        In a . a' the terms of the two predicted classes are large and computed; the others are at most the product of
        the norms that are left (Cauchy and Schwarz), as |f . f'| is at most the product of the features' norms.
        """
        centre = self.predicted[position]
        at_theirs = self.errors(self.predicted.new_tensor([position]))[0][self.predicted]
        other = self.predicted != centre
        at_centre = -self.probabilities[:, centre].double() * other
        own = self.own[position] * other
        squares = self.error_norms**2 * (1 + ROUNDING)  # more than is lost in the differences
        left = (squares - self.own**2 - at_centre**2) * (squares[position] - at_theirs**2 - own**2)
        most = (self.own * at_theirs + at_centre * own).abs() + left.sqrt()
        both = self.norms**2 + self.norms[position] ** 2
        return both - 2 * most * self.feature_norms * self.feature_norms[position] - ROUNDING * both


@acquisition("badge", _SCORE)
@acquisition(PCB_ALONE, _SCORE)
def badge(seen: Seen, number: int) -> Choice:
    """Centres of k-means++ on gradients, in the order in which they are drawn."""
    return k_means_plus_plus(Gradients(seen.features, seen.probabilities), number)


def badge_of_reference(seen: Seen, number: int) -> Choice:
    """The same on the reference's misplaced rows: what it picks if the batch size does not divide the images."""
    rows = misplaced(len(seen.features), seen.batch_size)
    images = rows.clamp(min=0)
    features = seen.features[images] * (rows >= 0)[:, None]  # without a feature the gradient is zero
    return k_means_plus_plus(Gradients(features, seen.probabilities[images]), number)


def misplaced(images: int, batch: int) -> Tensor:
    """(U,) which image's gradient each row of the reference's matrix holds; -1: none, the row is zero.

    It writes image j of batch i to row i * b + j, with b the size of that batch: a short last one goes too far up.
    """
    rows = torch.full((images,), -1)
    for number, block in enumerate(torch.arange(images).split(batch)):
        rows[number * len(block) : (number + 1) * len(block)] = block
    return rows


def k_means_plus_plus(points: Gradients, number: int) -> Choice:
    """At most so many centres as k-means++ seeds them.

    The first is that of the largest norm; each of the others is drawn with probability proportional to the squared
    distance to its nearest centre. When all that are left equal a centre, they follow in order, without a draw.
    Scores are distances to the nearest centre, for the first its norm.
    """
    norms = points.norms
    number = min(number, len(norms))
    if not number:
        return Choice([], [])
    positions = [first_largest(norms, ROUNDING * float(norms.max()))]
    scores = [float(norms[positions[0]])]
    nearest = torch.full_like(norms, float("inf"))
    while len(positions) < number:
        nearest = points.nearer(nearest, positions[-1])
        nearest[positions[-1]] = 0
        weights: np.ndarray = nearest.cpu().numpy()
        if not weights.any():
            rest = sorted({*range(len(weights))} - {*positions})[: number - len(positions)]
            return Choice(positions + rest, scores + [0.0] * len(rest))
        positions.append(_drawn(weights, positions))
        scores.append(float(weights[positions[-1]]) ** 0.5)
    return Choice(positions, scores)


def _drawn(weights: np.ndarray, centres: list[int]) -> int:
    """The first position whose cumulated probability is not below a double of NumPy's generator.

    Args:
        weights: (U,) of each position, none below 0, not all 0.
        centres: positions that, when drawn, mean another trial.
    """
    cumulated = np.cumsum(weights / weights.sum())
    while True:
        position = int(np.searchsorted(cumulated, np.random.random_sample()))
        if position < len(weights) and position not in centres:  # beyond: the last sum may be just below 1
            return position
