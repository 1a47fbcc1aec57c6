"""Class-guided clustering and selective querying (arXiv 2411.16722): clusters with the fewest labels come first.

An image is its feature joined to the mean class feature weighted by its probabilities, as one unit vector.
Images with a label are clustered too, and there are enough clusters for each of them and for what is wanted.

Shapes: U images without a label, L with one, N = L + U, C classes, E joint width, M clusters.
"""

import heapq
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from modprompt.active import blocks
from modprompt.active.acquisition import Choice, Seen, acquisition

SEED = 42  # of the reference's KMeans; it draws from no generator of the process
TOLERANCE = 1e-4  # KMeans's own
COLUMNS = 16  # whose variance is computed at once: a cache line
THREADS = 2  # sums of two threads are the same in either order, those of more are not
SPREAD = 4  # cbsq: clusters for each image that is wanted, once there are labels
SCORE = "distance to its cluster's centre"


@acquisition("cb", SCORE, first=True, passes=2)
def class_guided(seen: Seen, number: int) -> Choice:
    """The image nearest to its centre, of each cluster with the smallest share of labels."""
    return _nearest_to_centres(seen, number, number)


@acquisition("cbsq", SCORE, first=True, passes=2)
def selective(seen: Seen, number: int) -> Choice:
    """The same in finer clusters; images that the model is sure enough of are labelled by it.

    That is, with their predicted class, if its probability reaches the mean of the largest probabilities of the images
    labelled so. In the first round there are none, and it is class-guided clustering alone.
    """
    choice = _nearest_to_centres(seen, number, number * (SPREAD if len(seen.labels) else 1))
    best, predicted = (one.cpu().numpy() for one in seen.probabilities.max(dim=1))
    sure = _thresholds(seen)
    free = [one for one in choice.positions if best[one] >= sure[predicted[one]]]
    return choice._replace(free={one: int(predicted[one]) for one in free})


def _thresholds(seen: Seen) -> np.ndarray:
    """(C,) mean largest probability of the images with each label; infinite where there are none."""
    best = seen.labelled_probabilities.amax(dim=1).double().cpu().numpy()
    labels = seen.labels.cpu().numpy()
    means = np.full(seen.probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        means[label] = best[labels == label].mean()
    return means


def _nearest_to_centres(seen: Seen, number: int, clusters: int) -> Choice:
    """The choice by clusters, of which there is one more for each image with a label.

    In the order of clusters' numbers, within one nearest first; scores are cosine distances.
    """
    number = min(number, len(seen.features))
    if not number:
        return Choice([], [])
    labelled = len(seen.labels)
    own, centres = _clustered(_whole(seen), clusters + labelled)
    members = {int(cluster): np.flatnonzero(own == cluster) for cluster in np.unique(own)}
    distances = _distances(seen, own, centres)
    positions: list[int] = []
    scores: list[float] = []
    for cluster, units in sorted(_units(members, labelled, number).items()):
        mine = members[cluster][members[cluster] >= labelled]
        nearest = mine[np.argsort(distances[mine], kind="stable")[:units]]
        positions += (nearest - labelled).tolist()
        scores += distances[nearest].tolist()
    return Choice(positions, scores)


def _whole(seen: Seen) -> np.ndarray:
    """(N, 2E) all of `_points`."""
    points = np.empty((len(seen.labels) + len(seen.features), 2 * seen.features.shape[1]), dtype=np.float32)
    done = 0
    for block in _points(seen):
        points[done : done + len(block)] = block
        done += len(block)
    return points


def _points(seen: Seen) -> Iterator[np.ndarray]:
    """(n, 2E) what is clustered, float32, block by block: images with a label first."""
    labelled = len(seen.labels)
    size = min(blocks.rows_of(seen.probabilities), blocks.rows_of(seen.features) // 2)
    for first in range(0, labelled + len(seen.features), size):
        known, rest = (slice(max(0, first - start), max(0, first - start + size)) for start in (0, labelled))
        features = torch.cat([seen.labelled_features[known], seen.features[rest]])
        probabilities = torch.cat([seen.labelled_probabilities[known], seen.probabilities[rest]])
        points: np.ndarray = torch.cat([features, probabilities @ seen.text], dim=1).cpu().numpy()
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        yield points


def _clustered(points: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each point's cluster and (M, 2E) centres; equal points may leave clusters empty.

    Args:
        points: (N, 2E), which are overwritten.
        clusters: M, unless there are fewer points.
    """
    state = random.getstate()
    from sklearn.cluster import KMeans  # late: it takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    random.setstate(state)  # from which the import draws
    columns = (points[:, first : first + COLUMNS] for first in range(0, points.shape[1], COLUMNS))
    tolerance: Any = np.mean(np.concatenate([some.var(axis=0) for some in columns])) * TOLERANCE
    asked: list[Any] = []

    def told(self: Any) -> Any:
        asked.append(tolerance)
        return tolerance

    class Means(KMeans):  # type: ignore[misc]
        """KMeans with a given tolerance: to compute it itself, it would need a second matrix of all points."""

        _tol = property(told, lambda self, _: None)

    with warnings.catch_warnings(), threadpool_limits(THREADS, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters
        found = Means(min(clusters, len(points)), n_init=1, random_state=SEED, tol=0, copy_x=False).fit(points)
        if not asked:  # a scikit-learn that has it elsewhere
            found = KMeans(min(clusters, len(points)), n_init=1, random_state=SEED, tol=TOLERANCE).fit(points)
    return found.labels_, found.cluster_centers_


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


def _distances(seen: Seen, own: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N,) cosine distances of points to the centres of their clusters, in float64; equal points have equal ones."""
    centres = centres.astype(np.float64)
    lengths = np.sqrt((centres * centres).sum(axis=1))
    found, done = np.empty(len(own)), 0
    for block in _points(seen):
        mine = slice(done, done + len(block))
        points = block.astype(np.float64)
        norms = np.sqrt((points * points).sum(axis=1)) * lengths[own[mine]]
        found[mine] = 1 - (points * centres[own[mine]]).sum(axis=1) / norms
        done += len(block)
    return found
