"""What an acquisition is: a function from a model's outputs for images to those that should be labelled; plain ones.

Shapes: U images without a label, L with one, C classes, E joint width. Ties go to the first image in the pool.
"""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modprompt.checks import check_name
from modprompt.data.rounds import NONE, RANDOM
from modprompt.errors import SettingError

ROUNDING = 1e-12  # error of sums of some thousand float64 products of numbers up to 1, with a margin
NUMBERS = 2**25  # that are computed at once, 256 MiB in float64: a copy of a whole pool would not fit into memory
FEATURES, PROBABILITIES = "features", "probabilities"
_INSIDE_LOG = 1e-6  # of the reference's entropy


class Seen(NamedTuple):
    """What an acquisition may look at; tensors of numbers are float32, all on the CPU.

    A matrix that the acquisition does not need has no columns.

    features: (U, E) image features of norm 1, in the pool's order.
    probabilities: (U, C) softmax of the logits.
    labelled_features: (L, E), in the order of labelling.
    labelled_probabilities: (L, C).
    labels: (L,) int64, those that training uses.
    text: (C, E) class features; the mean where a class has several prompts.
    batch_size: images in a training batch.
    predicted: (U,) int64, the class of the largest probability, the first in ties.
    largest: (U,) that probability.
    """

    features: Tensor
    probabilities: Tensor
    labelled_features: Tensor
    labelled_probabilities: Tensor
    labels: Tensor
    text: Tensor
    batch_size: int
    predicted: Tensor
    largest: Tensor


class Choice(NamedTuple):
    """What an acquisition chooses.

    positions: rows of the pool, best first, none twice.
    scores: the score of each; finite.
    free: {position: label} of images that the model labels itself.
    """

    positions: list[int]
    scores: list[float]
    free: Mapping[int, int] = {}


Choose = Callable[[Seen, int], Choice]  # the int: how many images are wanted; fewer where there are fewer


class Acquisition(NamedTuple):
    """An acquisition.

    name: what ACTIVE.METHOD calls it.
    choose: the function.
    score: what its scores are, in a few words; empty if it has none.
    first: whether it also chooses the first round, by zero-shot CLIP; otherwise that is drawn at random.
    passes: loaders that the reference makes for it; each draws a number from PyTorch's generator.
    needs: the matrices that it reads; of ImageNet each has 5 GB.
    """

    name: str
    choose: Choose
    score: str
    first: bool = False
    passes: int = 1
    needs: tuple[str, ...] = (FEATURES, PROBABILITIES)


ACQUISITIONS: dict[str, Acquisition] = {}


def acquisition(
    name: str,
    score: str,
    *,
    first: bool = False,
    passes: int = 1,
    needs: tuple[str, ...] = (FEATURES, PROBABILITIES),
) -> Callable[[Choose], Choose]:
    """Decorator: enter a function as an acquisition; the arguments are those of Acquisition."""

    def enter(choose: Choose) -> Choose:
        ACQUISITIONS[name] = Acquisition(name, choose, score, first, passes, needs)
        return choose

    return enter


def find(name: str) -> Acquisition:
    """The acquisition of a name; SettingError, naming the nearest, if there is none."""
    try:
        check_name(name, list(ACQUISITIONS), "ACTIVE.METHOD")
    except SettingError as error:
        raise SettingError(
            [
                (key, f"{text.rstrip('.')}. Import the module of a custom acquisition function with --import.")
                for key, text in error.faults
            ]
        ) from None
    return ACQUISITIONS[name]


def rows_of(matrix: Tensor) -> int:
    """How many rows of a matrix (U, C) are computed at once."""
    return max(1, NUMBERS // max(1, matrix.shape[1]))


def by_row(function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """A function's values (U,) for the rows of a matrix (U, C), which it gets block by block in float64."""
    return torch.cat([function(block.double()) for block in matrix.split(rows_of(matrix))])


def first_largest(values: Tensor, tolerance: float = ROUNDING) -> int:
    """The first position of the largest of (n,) float64 values, within a tolerance.

    A matrix product gives equal points different last digits, by their place in it and by machine.
    """
    return int((values >= values.max() - tolerance).byte().argmax())


def _best(scores: Tensor, number: int) -> Choice:
    values: np.ndarray = scores.numpy()
    order = np.argsort(-values, kind="stable")[:number]
    return Choice(order.tolist(), values[order].tolist())


@acquisition(RANDOM, "", passes=0, needs=())
def at_random(seen: Seen, number: int) -> Choice:
    """Images at random: one `sample` of Python's generator."""
    positions = random.sample(range(len(seen.largest)), min(number, len(seen.largest)))
    return Choice(positions, [0.0] * len(positions))


@acquisition(NONE, "", passes=0, needs=())
def whole_pool(seen: Seen, number: int) -> Choice:
    """All images in the pool's order, for PCB alone."""
    positions = list(range(min(number, len(seen.largest))))
    return Choice(positions, [0.0] * len(positions))


@acquisition("entropy", "entropy", needs=(PROBABILITIES,))
def entropy(seen: Seen, number: int) -> Choice:
    """The largest entropy first: minus the sum over classes of p ln(p + 1e-6), as the reference writes it."""
    return _best(by_row(lambda p: -(p * (p + _INSIDE_LOG).log()).sum(dim=1), seen.probabilities), number)


@acquisition("margin", "margin", needs=(PROBABILITIES,))
def margin(seen: Seen, number: int) -> Choice:
    """The smallest difference between the two largest probabilities first."""
    best = seen.probabilities.topk(min(2, seen.probabilities.shape[1]), dim=1).values.double()
    smallest = _best(best[:, 1:].sum(dim=1) - best[:, 0], number)  # with one class the second is 0
    return smallest._replace(scores=[-score for score in smallest.scores])


@acquisition("least_confidence", "one minus the probability", needs=())
def least_confidence(seen: Seen, number: int) -> Choice:
    """The smallest largest probability first."""
    return _best(1 - seen.largest.double(), number)
