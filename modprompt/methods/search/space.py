"""The space of a search: options of a layer, paths through them, and the best path that is a schedule.

An option is (remove, add). Which options a layer can use depends on how many tokens reach it, so the best option of
each layer by itself may give no schedule; the best path does.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from modprompt.errors import UserError
from modprompt.methods.search.file import ALL, Option

__all__ = ["ALL", "Option", "best_path", "margins", "options", "steps_of"]


_At = tuple[int, int]  # before a layer: tokens that reach it; the sum over all earlier layers, if that matters


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
    reached = _reached(layers, most_tokens)
    value: dict[_At, float] = dict.fromkeys(reached[-1], 0.0)  # the best sum from there on
    choices: list[dict[_At, int]] = []
    for layer in reversed(range(len(layers))):
        found = {at: _best_from(at, log_weights[layer], layers[layer], value, most_tokens) for at in reached[layer]}
        open_ends = {at: best for at, best in found.items() if best is not None}
        value = {at: total for at, (total, _) in open_ends.items()}
        choices.insert(0, {at: option for at, (_, option) in open_ends.items()})
    if (0, 0) not in value:
        raise UserError(_why_none(layers, most_tokens))
    path, at = [], (0, 0)
    for there, choice in zip(layers, choices):
        path.append(choice[at])
        at = _after(at, there[choice[at]], most_tokens) or at  # a chosen option always leads on
    return tuple(path)


def _after(at: _At, option: Option, most_tokens: int) -> _At | None:
    """Where an option leads to; None if it removes more tokens than there are, or then there are too many."""
    (present, used), (remove, add) = at, option
    removed = present if remove == ALL else remove
    left = present - removed + add
    used = used + left if most_tokens else 0
    return None if removed > present or used > most_tokens else (left, used)


def _reached(layers: Sequence[Sequence[Option]], most_tokens: int) -> list[set[_At]]:
    """Where paths can be before each layer, and after the last."""
    reached: list[set[_At]] = [{(0, 0)}]
    for there in layers:
        ends = (_after(at, option, most_tokens) for at in reached[-1] for option in there)
        reached.append({end for end in ends if end is not None})
    return reached


def _best_from(
    at: _At, log_weights: Sequence[float], there: Sequence[Option], value: Mapping[_At, float], most_tokens: int
) -> tuple[float, int] | None:
    """(largest sum from here on, the first option with it); None at a dead end."""
    best: tuple[float, int] | None = None
    for number, option in enumerate(there):
        end = _after(at, option, most_tokens)
        if end is not None and end in value:
            total = log_weights[number] + value[end]
            if best is None or total > best[0]:
                best = total, number
    return best


def _why_none(layers: Sequence[Sequence[Option]], most_tokens: int) -> str:
    fewest = {0: 0}  # by tokens that reach a layer: the smallest sum over all earlier layers
    for layer, there in enumerate(layers):
        ends: dict[int, int] = {}
        for present, used in fewest.items():
            for option in there:
                end = _after((present, 0), option, 0)
                if end is not None:
                    ends[end[0]] = min(used + end[0], ends.get(end[0], used + end[0]))
        if not ends:
            return f"no path is a schedule: every option of layer {layer} removes more prompt tokens than can reach it"
        fewest = ends
    return f"no path has at most {most_tokens} prompt tokens over all layers: the smallest has {min(fewest.values())}"


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
