"""The other side of `benchmarks.active`: BADGE on whole gradient embeddings, as published code writes them.

Shapes: U images, C classes, E joint width.
"""

import numpy as np

from modprompt.active.acquisition import Seen


def embeddings(seen: Seen) -> np.ndarray:
    """(U, C * E) float64: (onehot of the predicted class - p) outer feature."""
    p, features = seen.probabilities.numpy(), seen.features.numpy()
    errors = np.eye(p.shape[1], dtype=np.float32)[p.argmax(axis=1)] - p
    whole: np.ndarray = np.einsum("uc,ue->uce", errors, features)
    return whole.reshape(len(p), -1).astype(np.float64)


def badge(seen: Seen, number: int) -> list[int]:
    """Centres of k-means++: the largest norm first, then random ones, weighted by squared distance."""
    points = embeddings(seen)
    squares = np.linalg.norm(points, axis=1) ** 2
    centres = [int(squares.argmax())]
    nearest = np.full(len(points), np.inf)
    while len(centres) < number:
        last = centres[-1]
        nearest = np.minimum(nearest, (squares + squares[last] - 2 * (points @ points[last])).clip(min=0))
        cumulated = np.cumsum(nearest / nearest.sum())
        found = last
        while found in centres:
            found = int(np.argmax(cumulated >= np.random.random_sample()))
        centres.append(found)
    return centres
