"""The space of a search: options of a layer, paths through them, the best one, and how it is sought.

An option is (remove, add). Which options a layer can use depends on how many tokens reach it, so the best option of
each layer by itself may give no schedule; the best path does.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modprompt.errors import UserError
from modprompt.fields import Configured, setting
from modprompt.methods.search.file import ALL, Option

ALL_BATCHES, FIRST_BATCH = "all", "first"
MOST = 64  # prompt tokens that an option of a layer may add, or remove by number
BETAS = (0.5, 0.999)  # of Adam on the alphas (DPL, arXiv 2501.00457)


@dataclass(frozen=True, repr=False)
class AlphaSettings(Configured):
    """The settings of every search, besides its options."""

    alpha_lr: float = setting(
        0.0035, "the learning rate of Adam for the alphas, constant during the search", least=0, compared=False
    )
    alpha_data: str = setting(
        "all",
        "the validation batches used to train the alphas: all batches in turn, or only the first, as in the "
        "original code",
        choices=(ALL_BATCHES, FIRST_BATCH),
        compared=False,
    )
    alpha_batch: int = setting(16, "the number of validation images per step of the alphas", least=1, compared=False)
    tokens_weight: float = setting(
        0.0, "the weight of the expected number of prompt tokens in the loss of the alphas", least=0, compared=False
    )
    most_tokens: int = setting(
        0,
        "the maximum total number of prompt tokens over all layers of an encoder in the found schedule; 0 for no limit",
        least=0,
        compared=False,
    )


def options(remove: int, remove_all: bool, add: int) -> list[Option]:
    """A layer's options, ordered by what they remove, 0 to `remove`, then ALL; then by what they add, 0 to `add`."""
    removals = [*range(remove + 1), *([ALL] if remove_all else [])]
    return [(removed, added) for removed in removals for added in range(add + 1)]


def best_path(
    log_weights: Sequence[Sequence[float]], layers: Sequence[Sequence[Option]], most_tokens: int = 0
) -> tuple[int, ...]:
    """The path with the largest sum of log-weights among those that are schedules; the first of equals.

    Args:
        log_weights: for each layer's options.
        layers: the options of each layer.
        most_tokens: limit of prompt tokens for all layers together; 0 for none.

    Returns:
        The option of each layer, by its number.

    Raises:
        UserError: if there is no path.
    """

    @functools.cache
    def best(layer: int, present: int, used: int) -> tuple[float, tuple[int, ...]] | None:
        """(largest sum from this layer on, the first path with it); None at a dead end.

        `present` tokens reach the layer; `used` are in all earlier ones, if that matters.
        """
        if layer == len(layers):
            return 0.0, ()
        found: tuple[float, tuple[int, ...]] | None = None
        for number, option in enumerate(layers[layer]):
            left = _left(present, option)
            total = used + left if most_tokens else 0
            rest = None if left < 0 or total > most_tokens else best(layer + 1, left, total)
            if rest is not None and (found is None or log_weights[layer][number] + rest[0] > found[0]):
                found = log_weights[layer][number] + rest[0], (number, *rest[1])
        return found

    found = best(0, 0, 0)
    if found is None:
        raise UserError(_why_none(layers, most_tokens))
    return found[1]


def _left(present: int, option: Option) -> int:
    """The tokens after a layer that `present` ones reach; -1 if it removes more than there are."""
    remove, add = option
    removed = present if remove == ALL else remove
    return -1 if removed > present else present - removed + add


def _why_none(layers: Sequence[Sequence[Option]], most_tokens: int) -> str:
    fewest = {0: 0}  # by tokens that reach a layer: the smallest sum over all earlier layers
    for layer, there in enumerate(layers):
        ends: dict[int, int] = {}
        for present, used in fewest.items():
            for option in there:
                left = _left(present, option)
                if left >= 0:
                    ends[left] = min(used + left, ends.get(left, used + left))
        if not ends:
            return (
                f"No schedule is possible, because every option of layer {layer} removes more prompt tokens "
                "than can reach the layer."
            )
        fewest = ends
    return (
        f"No schedule has at most {most_tokens} prompt tokens over all layers. Set MOST_TOKENS to "
        f"{min(fewest.values())} or more."
    )


def steps_of(path: Sequence[int], layers: Sequence[Sequence[Option]]) -> list[Option]:
    """A path as (remove, add) of each layer, with ALL as the number of tokens that are there."""
    steps, present = [], 0
    for option, there in zip(path, layers):
        remove, add = there[option]
        removed = present if remove == ALL else remove
        present += add - removed
        steps.append((removed, add))
    return steps


def margins(values: Sequence[Sequence[float]], chosen: Sequence[int]) -> tuple[float, ...]:
    """For each layer the weight of the chosen option minus that of the best other; below 0 if the other is larger.

    Args:
        values: for L layers, each option's alpha or the logarithm of its weight.
        chosen: the option of each layer.
    """
    found = []
    for row, option in zip(values, chosen):
        weights = np.exp(np.asarray(row, np.float64) - np.max(row))
        weights /= weights.sum()
        found.append(float(weights[option] - np.delete(weights, option).max(initial=0.0)))
    return tuple(found)
