"""Class-guided clustering and selective querying (arXiv 2411.16722): clusters with the fewest labels come first.

An image is its feature joined to the mean class feature weighted by its probabilities, as one unit vector.
Images with a label are clustered too, and there are enough clusters for each of them and for what is wanted.

Shapes: U images without a label, L with one, N = L + U, C classes, E joint width, M clusters.
"""

import heapq
import random
import warnings

import numpy as np
import torch

from modprompt.active.acquisition import Choice, Seen, acquisition

SEED = 42  # of the reference's KMeans; it draws from no generator of the process
THREADS = 2  # sums of two threads are the same in either order, those of more are not
SPREAD = 4  # cbsq: clusters for each image that is wanted, once there are labels
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
    best, predicted = (values.cpu().numpy() for values in seen.probabilities.max(dim=1))
    sure = _thresholds(seen)
    free = [position for position in choice.positions if best[position] >= sure[predicted[position]]]
    return choice._replace(free={position: int(predicted[position]) for position in free})


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
    number, labelled = min(number, len(seen.features)), len(seen.labels)
    if not number:
        return Choice([], [])
    points = _points(seen)
    cluster_of, centres = _clustered(points, min(clusters + labelled, len(points)))
    members = {int(cluster): np.flatnonzero(cluster_of == cluster) for cluster in np.unique(cluster_of)}
    positions: list[int] = []
    scores: list[float] = []
    for cluster, units in sorted(_units(members, labelled, number).items()):
        rows = members[cluster][members[cluster] >= labelled]
        distances = _cosine_distances(points[rows], centres[cluster])
        nearest = np.argsort(distances, kind="stable")[:units]
        positions += (rows[nearest] - labelled).tolist()
        scores += distances[nearest].tolist()
    return Choice(positions, scores)


def _points(seen: Seen) -> np.ndarray:
    """(N, 2E) what is clustered, float32: images with a label first."""
    labelled, width = len(seen.labels), seen.text.shape[1]
    joined = torch.empty(labelled + len(seen.features), 2 * width)
    for rows, features, probabilities in (
        (joined[:labelled], seen.labelled_features, seen.labelled_probabilities),
        (joined[labelled:], seen.features, seen.probabilities),
    ):
        rows[:, :width] = features
        torch.mm(probabilities, seen.text, out=rows[:, width:])
    points: np.ndarray = joined.numpy()
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _clustered(points: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the cluster of each of (N, 2E) points, and (M, 2E) centres; equal points may leave clusters empty."""
    state = random.getstate()
    from sklearn.cluster import KMeans  # late: it takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    random.setstate(state)  # from which the import draws
    with warnings.catch_warnings(), threadpool_limits(THREADS, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters
        means = KMeans(clusters, n_init=1, random_state=SEED, copy_x=False).fit(points)  # a pool may be large
    return means.labels_, means.cluster_centers_


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


def _cosine_distances(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n,) of (n, 2E) points to their centre, in float64; equal points have equal ones."""
    points, centre = points.astype(np.float64), centre.astype(np.float64)
    lengths = np.sqrt((points * points).sum(axis=1)) * np.sqrt((centre * centre).sum())
    distances: np.ndarray = 1 - (points * centre).sum(axis=1) / lengths
    return distances
