"""Acquisitions that use only each image's own probabilities, or nothing: all ties go to the first image.

Shapes: U images without a label, C classes.
"""

import random

import numpy as np
from torch import Tensor

from modprompt.active.acquisition import Choice, Seen, acquisition, by_row
from modprompt.data.rounds import NONE, RANDOM

INSIDE_LOG = 1e-6  # of the reference's entropy


@acquisition(RANDOM, "", passes=0)
def at_random(seen: Seen, number: int) -> Choice:
    """Images at random: one `sample` of Python's generator."""
    positions = random.sample(range(len(seen.features)), min(number, len(seen.features)))
    return Choice(positions, [0.0] * len(positions))


@acquisition(NONE, "", passes=0)
def whole_pool(seen: Seen, number: int) -> Choice:
    """All images in the pool's order, for PCB alone."""
    positions = list(range(min(number, len(seen.features))))
    return Choice(positions, [0.0] * len(positions))


@acquisition("entropy", "entropy")
def entropy(seen: Seen, number: int) -> Choice:
    """The largest entropy first: minus the sum over classes of p ln(p + 1e-6), as the reference writes it."""
    return largest(by_row(lambda p: -(p * (p + INSIDE_LOG).log()).sum(dim=1), seen.probabilities), number)


@acquisition("margin", "margin")
def margin(seen: Seen, number: int) -> Choice:
    """The smallest difference between the two largest probabilities first."""
    p = seen.probabilities
    best = p.topk(min(2, p.shape[1]), dim=1).values.double()
    smallest = largest(best[:, 1:].sum(dim=1) - best[:, 0], number)  # with one class the second is 0
    return smallest._replace(scores=[-score for score in smallest.scores])


@acquisition("least_confidence", "one minus the probability")
def least_confidence(seen: Seen, number: int) -> Choice:
    """The smallest largest probability first."""
    return largest(1 - seen.probabilities.amax(dim=1).double(), number)


def largest(scores: Tensor, number: int) -> Choice:
    """The images with the largest scores, largest first; in ties the first in the pool.

    Args:
        scores: (U,).
        number: how many; all, if there are fewer.
    """
    values: np.ndarray = scores.cpu().numpy()
    order = np.argsort(-values, kind="stable")[:number]
    return Choice(order.tolist(), values[order].tolist())
