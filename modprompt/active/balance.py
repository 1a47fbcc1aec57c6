"""PCB (arXiv 2311.11178): picks from candidates, balanced by predicted class.

All draws come from Python's generator, in the order of the reference.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Balanced(NamedTuple):
    """A pick.

    position: among the candidates.
    poorest: the class with the fewest labels at that moment.
    by_chance: whether that class had no candidate left, so that a random one was drawn.
    """

    position: int
    poorest: int
    by_chance: bool


def balance(predicted: Sequence[int], counts: Sequence[int], budget: int, give_up: bool) -> list[Balanced]:
    """Pick for the class with the fewest labels, again and again; a pick counts as a label of its predicted class.

    Args:
        predicted: class of each candidate, in the acquisition's order.
        counts: labelled images of each class, by true label.
        budget: how many picks.
        give_up: when the poorest class has no candidate left, draw any candidate, without counting it (so that the
            rest is drawn at random too); else go on with the next poorest class that has one.

    Raises:
        ValueError: if there are fewer candidates than picks.
    """
    if len(predicted) < budget:
        raise ValueError(f"{budget} picks from {len(predicted)} candidates")
    labels, left = list(counts), Counter(predicted)
    of_class: dict[int, list[int]] = {}
    for position, label in enumerate(predicted):
        of_class.setdefault(label, []).append(position)
    picks: list[Balanced] = []
    taken: set[int] = set()
    while len(picks) < budget:
        among = range(len(labels)) if give_up else sorted(label for label, count in left.items() if count)
        poorest = min(among, key=lambda label: labels[label])  # the first in ties
        candidates = list(of_class.get(poorest, ()))
        random.shuffle(candidates)  # picked ones too: one shuffle a pick
        by_chance = not left[poorest]
        if by_chance:
            position = _any(len(predicted), taken)
        else:
            position = next(candidate for candidate in candidates if candidate not in taken)
            labels[poorest] += 1
        left[predicted[position]] -= 1
        taken.add(position)
        picks.append(Balanced(position, poorest, by_chance))
    return picks


def _any(candidates: int, taken: set[int]) -> int:
    """A random candidate that is not taken: one `randint` a trial."""
    while True:
        position = random.randint(0, candidates - 1)
        if position not in taken:
            return position
