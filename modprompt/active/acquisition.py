"""The interface of an acquisition: a function from a model's outputs for images to those that should be labelled.

Shapes: U images without a label, L with one, C classes, E joint width.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from modprompt.checks import check_name
from modprompt.errors import SettingError


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
    score: what its scores are, in a few words.
    first: whether it also chooses the first round, by zero-shot CLIP; otherwise that is drawn at random.
    passes: loaders that the reference makes for it; each draws a number from PyTorch's generator.
    """

    name: str
    choose: Choose
    score: str
    first: bool = False
    passes: int = 1


_KNOWN: dict[str, Acquisition] = {}


def acquisition(name: str, score: str, *, first: bool = False, passes: int = 1) -> Callable[[Choose], Choose]:
    """Decorator: register a function as an acquisition.

    Args:
        name: what ACTIVE.METHOD calls it.
        score: what its scores are, in a few words.
        first: whether it also chooses the first round, by zero-shot CLIP.
        passes: loaders that the reference makes for it.
    """

    def enter(choose: Choose) -> Choose:
        _KNOWN[name] = Acquisition(name, choose, score, first, passes)
        return choose

    return enter


def find(name: str) -> Acquisition:
    """The acquisition of a name.

    Raises:
        SettingError: if there is none; the message names the nearest.
    """
    try:
        check_name(name, list(_KNOWN), "ACTIVE.METHOD")
    except SettingError as error:
        raise SettingError(
            [(key, f"{text}; for one of your own, --import its module") for key, text in error.faults]
        ) from None
    return _KNOWN[name]
