"""The form of an acquisition: a function from what a model says of images to those that should be labelled.

Shapes: U images without a label, L with one, C classes, E joint width.
"""

from typing import Callable, Dict, List, Mapping, NamedTuple

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
    text: (C, E) class features; of several prompts a class their mean.
    batch_size: images of a batch of training.
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
    scores: what each was chosen by; finite.
    free: {position: label} of those that the model labels for nothing.
    """

    positions: List[int]
    scores: List[float]
    free: Mapping[int, int] = {}


Choose = Callable[[Seen, int], Choice]  # and how many are wanted


class Acquisition(NamedTuple):
    """An acquisition.

    name: its own.
    choose: the function.
    score: what its scores are, in a few words.
    first: whether it chooses the first round too, by zero-shot CLIP; else that is drawn at random.
    passes: loaders that the reference makes for it: each takes a number from PyTorch's generator.
    """

    name: str
    choose: Choose
    score: str
    first: bool = False
    passes: int = 1


_KNOWN: Dict[str, Acquisition] = {}


def acquisition(name: str, score: str, *, first: bool = False, passes: int = 1) -> Callable[[Choose], Choose]:
    """Decorator: enter a function as an acquisition.

    Args:
        name: what ACTIVE.METHOD calls it.
        score: what its scores are, in a few words.
        first: whether it chooses the first round too, by zero-shot CLIP.
        passes: loaders that the reference makes for it.
    """

    def enter(choose: Choose) -> Choose:
        _KNOWN[name] = Acquisition(name, choose, score, first, passes)
        return choose

    return enter


def find(name: str) -> Acquisition:
    """The acquisition of a name.

    Raises:
        SettingError: if there is none; the nearest is named.
    """
    try:
        check_name(name, list(_KNOWN), "ACTIVE.METHOD")
    except SettingError as error:
        raise SettingError(
            [(key, f"{text}; one of your own: --import its module") for key, text in error.faults]
        ) from None
    return _KNOWN[name]
