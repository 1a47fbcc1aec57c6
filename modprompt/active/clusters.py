"""Class-guided clustering and selective querying (arXiv 2411.16722): clusters that have the fewest labels come first.

An image is the pair of its feature and of the mean class feature that its probabilities weigh, as one unit vector.
Images with a label are clustered too, and there are enough clusters for each of them and for what is wanted.

Shapes: U images without a label, L with one, N = L + U, C classes, E joint width, M clusters.
"""

import heapq
import warnings
from typing import Dict, List, Tuple

import numpy as np
import torch

from modprompt.active.acquisition import Choice, Seen, acquisition

SEED = 42  # of KMeans, in the reference; no generator of the process is drawn from
THREADS = 2  # sums of two threads are the same in either order, those of more are not
SPREAD = 4  # cbsq: clusters for each image that is wanted, once there are labels
SCORE = "distance to its cluster's centre"


@acquisition("cb", SCORE, first=True, passes=2)
def class_guided(seen: Seen, number: int) -> Choice:
    """The image nearest to its centre, of each cluster with the smallest share of labels."""
    return _nearest_to_centres(seen, number, number)


@acquisition("cbsq", SCORE, first=True, passes=2)
def selective(seen: Seen, number: int) -> Choice:
    """The same in finer clusters; images of which the model is sure enough are labelled for nothing.

    That is, by their predicted class, if its probability reaches the mean of the largest probabilities of the images
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
    points = _points(seen)
    own, centres = _clustered(points, min(clusters + labelled, len(points)))
    members = {int(cluster): np.flatnonzero(own == cluster) for cluster in np.unique(own)}
    positions: List[int] = []
    scores: List[float] = []
    for cluster, units in sorted(_units(members, labelled, number).items()):
        mine = members[cluster][members[cluster] >= labelled]
        distances = _cosine_distances(points[mine], centres[cluster])
        nearest = np.argsort(distances, kind="stable")[:units]
        positions += (mine[nearest] - labelled).tolist()
        scores += distances[nearest].tolist()
    return Choice(positions, scores)


def _points(seen: Seen) -> np.ndarray:
    """(N, 2E) what is clustered, float32: images with a label first."""
    features = torch.cat([seen.labelled_features, seen.features])
    probabilities = torch.cat([seen.labelled_probabilities, seen.probabilities])
    points: np.ndarray = torch.cat([features, probabilities @ seen.text], dim=1).cpu().numpy()
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _clustered(points: np.ndarray, clusters: int) -> Tuple[np.ndarray, np.ndarray]:
    """(N,) each point's cluster and (M, 2E) centres; equal points may leave clusters empty."""
    from sklearn.cluster import KMeans  # late: it takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(THREADS, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters
        found = KMeans(clusters, n_init=1, random_state=SEED).fit(points)
    return found.labels_, found.cluster_centers_


def _units(members: Dict[int, np.ndarray], labelled: int, number: int) -> Dict[int, int]:
    """How many images each cluster gives, if any.

    Again and again one more of the cluster with the smallest share of labels, which counts as a label from then on; in
    ties of the largest cluster, then of the lowest number. All labelled, a cluster's share is 1, so it comes last.

    Args:
        members: rows of each cluster that is not empty.
        labelled: how many rows, the first ones, have a label.
        number: images in all.
    """
    labels = {cluster: int((rows < labelled).sum()) for cluster, rows in members.items()}
    order = [(labels[cluster] / len(rows), -len(rows), cluster) for cluster, rows in members.items()]
    heapq.heapify(order)
    units: Dict[int, int] = {}
    for _ in range(number):
        _, size, cluster = order[0]
        units[cluster] = units.get(cluster, 0) + 1
        heapq.heapreplace(order, ((labels[cluster] + units[cluster]) / -size, size, cluster))
    return units


def _cosine_distances(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(n,) of (n, 2E) points to a centre, in float64; equal points have equal ones."""
    wide, centre = points.astype(np.float64), centre.astype(np.float64)
    norms = np.sqrt((wide * wide).sum(axis=1)) * np.sqrt((centre * centre).sum())
    distances: np.ndarray = 1 - (wide * centre).sum(axis=1) / norms
    return distances
