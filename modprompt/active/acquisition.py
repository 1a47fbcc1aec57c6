"""The interface of an acquisition: a function from a model's outputs for images to those that should be labelled.

Shapes: U images without a label, L with one, C classes, E joint width.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.checks import check_name
from modprompt.errors import SettingError

ROUNDING = 1e-12  # error of sums of some thousand float64 products of numbers up to 1, with a margin
NUMBERS = 2**25  # that are computed at once in float64, 256 MiB: a copy of a whole pool would not fit into memory


class Seen(NamedTuple):
    """What an acquisition may look at; tensors of numbers are float32, all on one device.

    features: (U, E) image features of norm 1, in the pool's order.
    probabilities: (U, C) softmax of the logits.
    labelled_features: (L, E), in the order of labelling.
    labelled_probabilities: (L, C).
    labels: (L,) int64, those that training uses.
    text: (C, E) class features; the mean where a class has several prompts.
    batch_size: images in a training batch.
    """

    features: Tensor
    probabilities: Tensor
    labelled_features: Tensor
    labelled_probabilities: Tensor
    labels: Tensor
    text: Tensor
    batch_size: int


class Choice(NamedTuple):
    """What an acquisition chooses.

    positions: rows of the pool, best first, none twice.
    scores: the score of each; finite.
    free: {position: label} of images that the model labels itself.
    """

    positions: list[int]
    scores: list[float]
    free: Mapping[int, int] = {}


Choose = Callable[[Seen, int], Choice]  # the int: how many images are wanted


class Acquisition(NamedTuple):
    """An acquisition.

    name: what ACTIVE.METHOD calls it.
    choose: the function.
    score: what its scores are, in a few words; empty if it has none.
    first: whether it also chooses the first round, by zero-shot CLIP; otherwise that is drawn at random.
    passes: loaders that the reference makes for it; each draws a number from PyTorch's generator.
    """

    name: str
    choose: Choose
    score: str
    first: bool = False
    passes: int = 1


ACQUISITIONS: dict[str, Acquisition] = {}


def acquisition(name: str, score: str, *, first: bool = False, passes: int = 1) -> Callable[[Choose], Choose]:
    """Decorator: enter a function as an acquisition; the arguments are those of Acquisition."""

    def enter(choose: Choose) -> Choose:
        ACQUISITIONS[name] = Acquisition(name, choose, score, first, passes)
        return choose

    return enter


def find(name: str) -> Acquisition:
    """The acquisition of a name; SettingError, naming the nearest, if there is none."""
    try:
        check_name(name, list(ACQUISITIONS), "ACTIVE.METHOD")
    except SettingError as error:
        raise SettingError(
            [(key, f"{text}; for one of your own, --import its module") for key, text in error.faults]
        ) from None
    return ACQUISITIONS[name]


def rows_of(matrix: Tensor) -> int:
    """How many rows of a matrix (U, C) are computed at once."""
    return max(1, NUMBERS // max(1, matrix[:1].numel()))


def by_row(function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """A function's values (U,) for the rows of a matrix (U, C), which it gets block by block in float64."""
    return torch.cat([function(block.double()) for block in matrix.split(rows_of(matrix))])


def first_largest(values: Tensor, tolerance: float = ROUNDING) -> int:
    """The first position of the largest of (n,) float64 values, within a tolerance.

    A matrix product gives equal points different last digits, by their place in it and by machine.
    """
    return int((values >= values.max() - tolerance).byte().argmax())
