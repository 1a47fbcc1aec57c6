"""Class-guided clustering and selective querying (arXiv 2411.16722): clusters with the fewest labels come first.

An image is its feature joined to the mean class feature weighted by its probabilities, as one unit vector:
x = [f, p T] / |.|. Images with a label are clustered too, and there are enough clusters for each of them and for what
is wanted. The vectors of a pool beyond MOST_BYTES would not fit into memory beside f and p, and are not built: there a
centre is kept as means a of f / |.| and q of p / |.|, so that x . c = (f . a + p . T T' q) / |.|.

Shapes: U images without a label, L with one, N = L + U (the latter first), C classes, E joint width, M clusters.
"""

import heapq
import random
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modprompt.active.acquisition import NUMBERS, Choice, Seen, acquisition

SEED = 42  # of the reference's clustering; it draws from no generator of the process
SPREAD = 4  # cbsq: clusters for each image that is wanted, once there are labels
MOST_STEPS, TOLERANCE = 300, 1e-4  # of scikit-learn's KMeans, which the reference calls
TIE = 1e-6  # error of the large pools' cosine distances: of two images in a cluster both are equally near its centre
THREADS = 2  # sums of two threads are the same in either order, those of more are not
MOST_BYTES = 2 * 2**30  # of vectors that scikit-learn clusters, which needs twice as much
_SCORE = "distance to its cluster's centre"


@acquisition("cb", _SCORE, first=True, passes=2)
def class_guided(seen: Seen, number: int) -> Choice:
    """The image nearest to its centre, of each cluster with the smallest share of labels."""
    return _nearest_to_centres(seen, number, number)


@acquisition("cbsq", _SCORE, first=True, passes=2)
def selective(seen: Seen, number: int) -> Choice:
    """The same in finer clusters; images that the model is sure enough of are labelled by it.

    That is, with their predicted class, if its probability reaches the mean of the largest probabilities of the images
    labelled so. In the first round there are none, and it is class-guided clustering alone.
    """
    choice = _nearest_to_centres(seen, number, number * (SPREAD if len(seen.labels) else 1))
    sure = seen.labelled_probabilities.amax(dim=1).double()
    enough = {int(label): float(sure[seen.labels == label].mean()) for label in seen.labels.unique()}
    predicted = {position: int(seen.predicted[position]) for position in choice.positions}
    free = {
        position: label
        for position, label in predicted.items()
        if float(seen.largest[position]) >= enough.get(label, np.inf)
    }
    return choice._replace(free=free)


def _nearest_to_centres(seen: Seen, number: int, clusters: int) -> Choice:
    """The choice by clusters, of which there is one more for each image with a label.

    In the order of clusters' numbers, within one nearest first; scores are cosine distances.
    """
    number, labelled = min(number, len(seen.features)), len(seen.labels)
    if not number:
        return Choice([], [])
    rows = len(seen.features) + labelled
    points: _Vectors | _Factors = (_Vectors if rows * 8 * seen.text.shape[1] <= MOST_BYTES else _Factors)(seen)
    cluster_of = points.clustered(min(clusters + labelled, rows))
    order = np.argsort(cluster_of, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(cluster_of))[:-1])
    members = {cluster: rows for cluster, rows in enumerate(parts) if len(rows)}
    positions: list[int] = []
    scores: list[float] = []
    for cluster, units in sorted(_units(members, labelled, number).items()):
        own = members[cluster][members[cluster] >= labelled]
        distances = points.cosine_distances(own, cluster)
        nearest = np.argsort(np.round(distances / points.tie) if points.tie else distances, kind="stable")[:units]
        positions += (own[nearest] - labelled).tolist()
        scores += distances[nearest].tolist()
    return Choice(positions, scores)


def _units(members: dict[int, np.ndarray], labelled: int, number: int) -> dict[int, int]:
    """How many images each cluster gives, if any.

    Each time one more from the cluster with the smallest share of labels, which then counts as a label; ties go to the
    largest cluster, then to the lowest number. A cluster with all images labelled has share 1, so it comes last.

    Args:
        members: rows of each cluster that is not empty.
        labelled: how many rows, the first ones, have a label.
        number: images in all.
    """
    labels = {cluster: int((rows < labelled).sum()) for cluster, rows in members.items()}
    order = [(labels[cluster] / len(rows), -len(rows), cluster) for cluster, rows in members.items()]
    heapq.heapify(order)
    units: dict[int, int] = {}
    for _ in range(number):
        _, size, cluster = order[0]
        units[cluster] = units.get(cluster, 0) + 1
        heapq.heapreplace(order, ((labels[cluster] + units[cluster]) / -size, size, cluster))
    return units


class _Centres(NamedTuple):
    """Centres as the means a (M, E) and q (M, C) of their members."""

    a: Tensor
    q: Tensor


class _Vectors:
    """The N unit vectors of some images, float32, clustered by scikit-learn."""

    tie = 0.0

    def __init__(self, seen: Seen) -> None:
        self.labelled, width = len(seen.labels), seen.text.shape[1]
        joined = torch.empty(self.labelled + len(seen.features), 2 * width)
        for rows, features, probabilities in (
            (joined[: self.labelled], seen.labelled_features, seen.labelled_probabilities),
            (joined[self.labelled :], seen.features, seen.probabilities),
        ):
            rows[:, :width] = features
            torch.mm(probabilities, seen.text, out=rows[:, width:])
        self.points: np.ndarray = joined.numpy()
        self.points /= np.linalg.norm(self.points, axis=1, keepdims=True)

    def clustered(self, clusters: int) -> np.ndarray:
        """(N,) the cluster of each vector; equal vectors may leave clusters empty."""
        state = random.getstate()
        from sklearn.cluster import KMeans  # late: it takes a second to import
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        random.setstate(state)  # from which the import draws
        with warnings.catch_warnings(), threadpool_limits(THREADS, "openmp"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters
            means = KMeans(clusters, n_init=1, random_state=SEED, copy_x=False).fit(self.points)
        self._centres = means.cluster_centers_.astype(np.float64)
        return np.asarray(means.labels_)

    def cosine_distances(self, rows: np.ndarray, cluster: int) -> np.ndarray:
        """(n,) of some vectors to the centre of their cluster, in float64; equal ones have equal distances."""
        points, centre = self.points[rows].astype(np.float64), self._centres[cluster]
        lengths = np.sqrt((points * points).sum(axis=1)) * np.sqrt((centre * centre).sum())
        distances: np.ndarray = 1 - (points * centre).sum(axis=1) / lengths
        return distances


class _Factors:
    """The N unit vectors of some images, as their factors; all is float32 and computed in blocks.

    Attributes:
        lengths: (N,) of [f, p T].
        gram: (C, C) T T'.
    """

    tie = TIE

    def __init__(self, seen: Seen) -> None:
        self.parts = (
            (seen.labelled_features, seen.labelled_probabilities),
            (seen.features, seen.probabilities),
        )
        self.labelled = len(seen.labels)
        self.gram = (seen.text.double() @ seen.text.double().t()).float()
        self.lengths = torch.cat([self._squares(_Centres(f, p)) for _, f, p in self.blocks(1)]).sqrt()

    def blocks(self, centres: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, f (n, E) and p (n, C) of blocks that are compared with so many centres at once."""
        size, start = max(1, NUMBERS // max(centres, self.parts[1][0].shape[1], self.parts[1][1].shape[1])), 0
        for features, probabilities in self.parts:
            for f, p in zip(features.split(size), probabilities.split(size)) if len(features) else ():
                yield slice(start, start + len(f)), f, p
                start += len(f)

    def at(self, rows: Tensor) -> _Centres:
        """Some vectors as centres."""
        a, q = (
            torch.stack([rest[row - self.labelled] if row >= self.labelled else first[row] for row in rows.tolist()])
            for first, rest in zip(*self.parts)
        )
        return _Centres(a / self.lengths[rows, None], q / self.lengths[rows, None])

    def _squares(self, centres: _Centres) -> Tensor:
        """(M,) squared norms of centres."""
        return (centres.a**2).sum(dim=1) + ((centres.q @ self.gram) * centres.q).sum(dim=1)

    def squared(self, centres: _Centres) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Rows, f and p of each block, and its squared distances (n, M) to centres."""
        weights, squares = centres.q @ self.gram, self._squares(centres)
        for rows, f, p in self.blocks(len(squares)):
            products = (f @ centres.a.t()).addmm_(p, weights.t())
            yield rows, f, p, products.mul_(-2 / self.lengths[rows, None]).add_(1 + squares).clamp_(min=0)

    def clustered(self, clusters: int) -> np.ndarray:
        """(N,) the cluster of each vector, as scikit-learn's KMeans with one start finds it.

        Equal vectors may leave clusters empty, which keep their centre.
        """
        _, mean = self._step(self.at(torch.tensor([0])))  # of all, whose only centre it is
        tolerance = TOLERANCE * (1 - float(self._squares(mean))) / (2 * mean.a.shape[1])  # of the mean variance
        centres = self.at(self._seeds(clusters))
        cluster_of = torch.full((len(self.lengths),), -1)
        for _ in range(MOST_STEPS):
            before, (cluster_of, centres), old = cluster_of, self._step(centres), centres
            if torch.equal(cluster_of, before):
                break
            if float(self._squares(_Centres(centres.a - old.a, centres.q - old.q)).sum()) <= tolerance:
                cluster_of = self._step(centres)[0]
                break
        else:
            cluster_of = self._step(centres)[0]
        self._centres = centres
        return cluster_of.numpy()

    def _seeds(self, clusters: int) -> Tensor:
        """(M,) rows that k-means++ seeds: of some candidates each time the one that leaves the smallest distances."""
        generator, trials = np.random.RandomState(SEED), 2 + int(np.log(clusters))
        uniform = np.full(len(self.lengths), 1 / len(self.lengths))
        seeds = [int(generator.choice(len(uniform), p=uniform))]
        nearest = torch.cat([distances for *_, distances in self.squared(self.at(torch.tensor(seeds)))])[:, 0]
        while len(seeds) < clusters:
            drawn = generator.uniform(size=trials) * float(nearest.double().sum())
            candidates = np.searchsorted(nearest.double().cumsum(dim=0).numpy(), drawn).clip(max=len(nearest) - 1)
            left = torch.cat(
                [
                    torch.minimum(distances, nearest[rows, None])
                    for rows, *_, distances in self.squared(self.at(torch.from_numpy(candidates)))
                ]
            )
            best = int(left.double().sum(dim=0).argmin())
            seeds.append(int(candidates[best]))
            nearest = left[:, best].contiguous()
        return torch.tensor(seeds)

    def _step(self, centres: _Centres) -> tuple[Tensor, _Centres]:
        """(N,) the nearest of some centres, and the centres of the vectors that have the same."""
        nearest, sums = [], [torch.zeros_like(part) for part in centres]
        for rows, f, p, distances in self.squared(centres):
            nearest.append(distances.argmin(dim=1))
            for total, part in zip(sums, (f, p)):
                total.index_add_(0, nearest[-1], part / self.lengths[rows, None])
        cluster_of = torch.cat(nearest)
        sizes = cluster_of.bincount(minlength=len(centres.a))[:, None]
        a, q = (torch.where(sizes > 0, total / sizes.clamp(min=1), own) for total, own in zip(sums, centres))
        return cluster_of, _Centres(a, q)

    def cosine_distances(self, members: np.ndarray, cluster: int) -> np.ndarray:
        """(n,) of vectors without a label to the centre of their cluster, in float64."""
        rows = torch.from_numpy(members)
        a, q = self._centres.a[cluster].double(), self._centres.q[cluster].double()
        weights = self.gram.double() @ q
        length, (features, probabilities) = float(a @ a + weights @ q) ** 0.5, self.parts[1]
        found = [
            (features[some].double() * a).sum(dim=1) + (probabilities[some].double() * weights).sum(dim=1)
            for some in (rows - self.labelled).split(NUMBERS // max(len(a), len(q)))
        ]
        distances: np.ndarray = (1 - torch.cat(found) / self.lengths[rows].double() / length).numpy()
        return distances
