"""BADGE (Ash et al., ICLR 2020): k-means++ on the gradients of images, with their predictions as labels.

The gradient of an image is (onehot of its predicted class - p) outer f, C * E numbers. It is never built: with the two
factors a = onehot - p and f of each image, |g - g'|^2 = |a|^2 |f|^2 + |a'|^2 |f'|^2 - 2 (a . a') (f . f').

Shapes: U images without a label, C classes, E joint width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modprompt.active import blocks
from modprompt.active.acquisition import Choice, Seen, acquisition
from modprompt.active.blocks import ROUNDING, first_largest
from modprompt.data.rounds import PCB_ALONE

SCORE = "distance of gradients"
MANY = 0.3  # share of rows from which all are computed, in order, and none is left out


class Gradients(NamedTuple):
    """Gradients as their factors a and f, a row for each; float64, except what these are computed from.

    rows: (U,) the image whose gradient each row holds; -1: none, the gradient is zero.
    probabilities: (N, C) float32, of the images.
    images: (N, E) their features, float32.
    predicted: (U,) int64.
    own: (U,) the entry of a for the predicted class.
    error_norms: (U,) norms of the rows a.
    feature_norms: (U,) norms of the rows f.
    """

    rows: Tensor
    probabilities: Tensor
    images: Tensor
    predicted: Tensor
    own: Tensor
    error_norms: Tensor
    feature_norms: Tensor

    def errors(self, rows: Tensor) -> Tensor:
        """(n, C) a = onehot of the predicted class minus probabilities, for some rows."""
        images = self.rows[rows]
        return _none_zero(_errors(self.probabilities[images.clamp(min=0)], self.predicted[rows]), images)

    def features(self, rows: Tensor) -> Tensor:
        """(n, E) f of some rows."""
        images = self.rows[rows]
        return _none_zero(self.images[images.clamp(min=0)].double(), images)

    @property
    def norms(self) -> Tensor:
        """(U,) of the gradients."""
        return self.error_norms * self.feature_norms

    def nearer(self, nearest: Tensor, position: int) -> Tensor:
        """Squared distances to the nearest centre once one more is added.

        Args:
            nearest: (U,) those before.
            position: of the new centre.

        Returns:
            (U,), 0 where a gradient equals the new one up to rounding.
        """
        may = (self._least(position) < nearest).nonzero()[:, 0]
        if len(may) > MANY * len(nearest):
            may = torch.arange(len(nearest), device=nearest.device)
        squared = [self._squared(some, position) for some in may.split(blocks.rows_of(self.probabilities))]
        return nearest.index_copy(0, may, torch.minimum(nearest[may], torch.cat(squared)))

    def _squared(self, rows: Tensor, position: int) -> Tensor:
        """(n,) squared distances of rows to one of them."""
        here = rows.new_tensor([position])
        products = self.errors(rows) @ self.errors(here)[0]
        products *= self.features(rows) @ self.features(here)[0]
        most = self.norms[rows] ** 2 + self.norms[position] ** 2
        squared = most - 2 * products
        return squared.where(squared > ROUNDING * most, torch.zeros_like(squared))

    def _least(self, position: int) -> Tensor:
        """(U,) lower bounds of the squared distances to one of them, without a matrix product.

        In a . a' the terms of the two predicted classes are large and computed; the others are at most the product of
        the norms that are left (Cauchy and Schwarz), as |f . f'| is at most the product of the features' norms.
        """
        here, at_theirs = self.predicted[position], self.errors(self.rows.new_tensor([position]))[0][self.predicted]
        other = self.predicted != here
        at_here = _none_zero(-self.probabilities[:, here].double()[self.rows.clamp(min=0)], self.rows) * other
        own = self.own[position] * other
        squares = self.error_norms**2 * (1 + ROUNDING)  # more than is lost in the differences
        left = (squares - self.own**2 - at_here**2) * (squares[position] - at_theirs**2 - own**2)
        most = (self.own * at_theirs + at_here * own).abs_() + left.sqrt_()
        most *= self.feature_norms * self.feature_norms[position]
        both = self.norms**2 + self.norms[position] ** 2
        return both - 2 * most - ROUNDING * both


@acquisition("badge", SCORE)
@acquisition(PCB_ALONE, SCORE)
def badge(seen: Seen, number: int) -> Choice:
    """Centres of k-means++ on gradients, in the order in which they are drawn."""
    return k_means_plus_plus(gradients(seen), number)


def badge_of_reference(seen: Seen, number: int) -> Choice:
    """The same on the reference's misplaced rows: what it picks if the batch size does not divide the images."""
    rows = misplaced(len(seen.features), seen.batch_size).to(seen.features.device)
    return k_means_plus_plus(gradients(seen, rows), number)


def gradients(seen: Seen, rows: Tensor | None = None) -> Gradients:
    """The gradients of all images without a label, in their order or in that of `rows`, as `misplaced` gives them."""
    p, features = seen.probabilities, seen.features
    if rows is None:
        rows = torch.arange(len(p), device=p.device)
    predicted = p.argmax(dim=1)
    best = p.gather(1, predicted[:, None])[:, 0]
    each = zip(blocks.of(p), predicted.split(blocks.rows_of(p)))
    numbers = [
        predicted,
        (1 - best).double(),
        torch.cat([_errors(some.clone(), classes).norm(dim=1) for some, classes in each]),
        blocks.by_row(lambda f: f.norm(dim=1), features),
    ]
    return Gradients(rows, p, features, *(_none_zero(one[rows.clamp(min=0)], rows) for one in numbers))


def _errors(probabilities: Tensor, predicted: Tensor) -> Tensor:
    """(n, C) onehot of the predicted class minus probabilities, which are overwritten; float64 of sums in float32."""
    ones = torch.ones_like(probabilities[:, :1])
    return probabilities.neg_().scatter_add_(1, predicted[:, None], ones).double()


def _none_zero(values: Tensor, rows: Tensor) -> Tensor:
    """Values, one for each of these rows, set to 0 in place where the row is -1."""
    values[rows < 0] = 0
    return values


def misplaced(images: int, batch: int) -> Tensor:
    """(U,) which image's gradient each row of the reference's matrix holds; -1: none, the row is zero.

    It writes image j of batch i to row i * b + j, with b the size of that batch: a short last one goes too far up.
    """
    rows = torch.full((images,), -1)
    for number, block in enumerate(torch.arange(images).split(batch)):
        rows[number * len(block) : (number + 1) * len(block)] = block
    return rows


def k_means_plus_plus(points: Gradients, number: int) -> Choice:
    """Centres as k-means++ seeds them.

    The first is that of the largest norm; each of the others is drawn with probability proportional to the squared
    distance to its nearest centre. When all that are left equal a centre, they follow in order, without a draw.

    Args:
        points: what is chosen from.
        number: how many; all, if there are fewer.

    Returns:
        Positions in the order of choice; scores are distances to the nearest centre, for the first its norm.
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
        found = _drawn(weights, positions)
        if found is None:
            chosen = set(positions)
            rest = [one for one in range(len(weights)) if one not in chosen][: number - len(positions)]
            return Choice(positions + rest, scores + [0.0] * len(rest))
        positions.append(found)
        scores.append(float(weights[found]) ** 0.5)
    return Choice(positions, scores)


def _drawn(weights: np.ndarray, centres: list[int]) -> int | None:
    """A random position that is no centre: each trial draws a double from NumPy's generator, as the reference does.

    Args:
        weights: (U,) of each position, none below 0.
        centres: positions that, when drawn, mean another trial.

    Returns:
        The first position whose cumulated probability is not below the double; None if all weights are 0.
    """
    total = weights.sum()
    if total == 0:
        return None
    cumulated = np.cumsum(weights / total)
    while True:
        found = int(np.searchsorted(cumulated, np.random.random_sample()))
        if found < len(weights) and found not in centres:  # beyond: the last sum may be just below 1
            return found
