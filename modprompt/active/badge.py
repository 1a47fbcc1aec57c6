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
        seen: the images.
        image: (U,) the image whose gradient each row is; -1: none, it is zero.
    """

    def __init__(self, seen: Seen, image: Tensor) -> None:
        self.seen, self.image, self.is_there = seen, image.clamp(min=0), (image >= 0).double()
        self.predicted = seen.predicted[self.image]
        self.own = (1 - seen.largest[self.image]).double()  # the entry of a for the predicted class
        self.error_norms = torch.cat([self.errors(some).norm(dim=1) for some in self.blocks(torch.arange(len(image)))])
        self.feature_norms = by_row(lambda f: f.norm(dim=1), seen.features)[self.image] * self.is_there
        self.norms = self.error_norms * self.feature_norms

    def blocks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Some rows in parts that are computed at once."""
        parts: tuple[Tensor, ...] = rows.split(min(rows_of(self.seen.probabilities), rows_of(self.seen.features)))
        return parts

    def errors(self, rows: Tensor) -> Tensor:
        """(n, C) a = onehot of the predicted class minus probabilities, for some rows."""
        p = self.seen.probabilities[self.image[rows]]
        ones = torch.ones_like(p[:, :1])
        return p.neg_().scatter_add_(1, self.predicted[rows, None], ones).double()

    def features(self, rows: Tensor) -> Tensor:
        """(n, E) f of some rows."""
        return self.seen.features[self.image[rows]].double() * self.is_there[rows, None]

    def nearer(self, nearest: Tensor, position: int) -> Tensor:
        """Squared distances (U,) to the nearest centre, from those before a centre is added at this position.

        0 where a gradient equals the new one up to rounding. Only rows that may become nearer are computed.
        """
        may = (self._least(position) < nearest).nonzero()[:, 0]
        squared = [self._squared(some, position) for some in self.blocks(may)]
        return nearest.index_copy(0, may, torch.minimum(nearest[may], torch.cat(squared)))

    def _squared(self, rows: Tensor, position: int) -> Tensor:
        centre = rows.new_tensor([position])
        products = self.errors(rows) @ self.errors(centre)[0]
        products *= self.features(rows) @ self.features(centre)[0]
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
        at_centre = -self.seen.probabilities[:, centre][self.image].double() * other
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
    return _k_means_plus_plus(Gradients(seen, torch.arange(len(seen.features))), number)


def badge_of_reference(seen: Seen, number: int) -> Choice:
    """The same on the reference's misplaced rows: what it picks if the batch size does not divide the images.

    It writes image j of batch i to row i * b + j, with b the size of that batch: a short last one goes too far up.
    """
    rows = torch.full((len(seen.features),), -1)
    for number_of_batch, batch in enumerate(torch.arange(len(rows)).split(seen.batch_size)):
        rows[number_of_batch * len(batch) : (number_of_batch + 1) * len(batch)] = batch
    return _k_means_plus_plus(Gradients(seen, rows), number)


def _k_means_plus_plus(points: Gradients, number: int) -> Choice:
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
        weights: np.ndarray = nearest.numpy()
        if not weights.any():
            rest = sorted({*range(len(weights))} - {*positions})[: number - len(positions)]
            return Choice(positions + rest, scores + [0.0] * len(rest))
        cumulated, drawn = np.cumsum(weights / weights.sum()), positions[-1]
        while drawn in positions or drawn == len(weights):  # the last sum may be just below 1
            drawn = int(np.searchsorted(cumulated, np.random.random_sample()))
        positions.append(drawn)
        scores.append(float(weights[drawn]) ** 0.5)
    return Choice(positions, scores)
