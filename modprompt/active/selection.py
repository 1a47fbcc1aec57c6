"""Which images a round asks labels for: an acquisition's choice, alone or balanced by PCB (arXiv 2311.11178).

It draws from Python's and NumPy's generators; PyTorch's is not touched.

Shapes: U images without a label, C classes.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from modprompt.active import badge, clusters, coreset  # noqa: F401 - they enter their acquisitions
from modprompt.active.acquisition import Choice, Seen, find
from modprompt.checks import at_most
from modprompt.data.rounds import NONE, PCB_ALONE, RANDOM, Active
from modprompt.errors import SettingError


class Pick(NamedTuple):
    """An image to be labelled.

    position: row of the unlabelled images.
    predicted: the class of the largest probability, the first in ties.
    probability: that class's.
    score: the acquisition's; None if it has none.
    reason: why, for people.
    free: the label that the model itself gives it; None if it is asked for.
    """

    position: int
    predicted: int
    probability: float
    score: float | None
    reason: str
    free: int | None


def check(settings: Active) -> None:
    """Refuse settings that do not go together.

    Raises:
        SettingError: on an unknown acquisition (the message names the nearest), rounds without one, one without
            rounds, "none" without PCB, a share above 1.
    """
    method, fault = settings.method, ""
    if not settings.rounds and method:
        fault = f" is {method!r}, but ACTIVE.ROUNDS is 0, so no images are selected. Set ACTIVE.ROUNDS."
    elif settings.rounds and not method:
        fault = (
            f" is empty, but ACTIVE.ROUNDS is {settings.rounds}. Set ACTIVE.METHOD to an acquisition function, or to "
            "none with ACTIVE.PCB True to use PCB alone."
        )
    elif method == NONE and not settings.pcb:
        fault = " none selects no images without PCB. Set ACTIVE.PCB to True, or choose an acquisition function."
    if fault:
        raise SettingError([("ACTIVE.METHOD", fault)])
    if settings.rounds:
        find(method)
        at_most("ACTIVE.GAMMA", settings.gamma, 1)


def has_pcb(settings: Active) -> bool:
    """Whether PCB picks from what the acquisition gives."""
    return settings.pcb or settings.method == PCB_ALONE


def candidates(settings: Active, budget: int, images: int, pool: int) -> int:
    """How many images the acquisition is asked for.

    Args:
        settings: of the rounds.
        budget: labels that are asked for in a round; not above `pool`.
        images: in the whole pool, labelled ones included.
        pool: without a label.

    Raises:
        SettingError: if there are fewer than the budget.
    """
    if not has_pcb(settings) or settings.method == RANDOM:
        return budget
    if settings.method == NONE:
        return pool
    share = math.floor(images * settings.gamma)
    if share < budget:
        text = (
            f" {settings.gamma} of {images} images gives {share} candidate{'' if share == 1 else 's'}, fewer than the "
            f"{budget} labels per round (ACTIVE.BUDGET). Increase ACTIVE.GAMMA or decrease ACTIVE.BUDGET."
        )
        raise SettingError([("ACTIVE.GAMMA", text)])
    return min(pool, share)


def select(
    seen: Seen, settings: Active, budget: int, images: int, counts: Sequence[int], names: Sequence[str]
) -> list[Pick]:
    """The images of a round, in the order of picking.

    Args:
        seen: the model's outputs for the images.
        settings: of the rounds.
        budget: labels that are asked for; an acquisition may choose fewer.
        images: in the whole pool, labelled ones included.
        counts: labelled images of each class, by true label.
        names: of the classes.

    Raises:
        SettingError: if there are too few candidates.
        ValueError: if an acquisition chooses images that do not exist.
    """
    wanted, used = candidates(settings, budget, images, len(seen.largest)), find(settings.method)
    if used.choose is badge.badge and settings.badge_rows == "reference":
        used = used._replace(choose=badge.badge_of_reference)
    choice = _checked(used.name, used.choose(seen, wanted), wanted, len(seen.largest), len(names))
    predicted, probability = (values[choice.positions].tolist() for values in (seen.predicted, seen.largest))
    why = [f"{used.score} {score:.3g}" if used.score else used.name for score in choice.scores]
    order = list(range(len(why)))
    if has_pcb(settings):
        balanced = balance(predicted, counts, min(budget, len(order)), settings.give_up)
        for place, poorest, by_chance in balanced:
            said = "had no candidate left, so drawn at random" if by_chance else "had the fewest labels"
            why[place] += f"; class {names[poorest]!r} {said}"
        order = [pick.position for pick in balanced]
    picks = []
    for place in order:
        position, score = choice.positions[place], choice.scores[place] if used.score else None
        free = choice.free.get(position)
        reason = why[place] if free is None else f"free label {names[free]!r}; {why[place]}"
        picks.append(Pick(position, predicted[place], probability[place], score, reason, free))
    return picks


def _checked(name: str, choice: Any, wanted: int, pool: int, classes: int) -> Choice:
    """A choice in plain numbers, whatever types an acquisition gives; ValueError on one that cannot be."""
    try:
        positions, scores, free = choice
        labels = {int(position): int(label) for position, label in dict(free).items()}
        plain = Choice([int(position) for position in positions], [float(score) for score in scores], labels)
    except (TypeError, ValueError):
        raise ValueError(
            f"The acquisition function {name!r} must return a Choice, but it returned a value of type "
            f"{type(choice).__name__}."
        ) from None
    rows = {*plain.positions}
    if not (0 < len(rows) == len(plain.positions) == len(plain.scores) <= wanted and rows <= {*range(pool)}):
        requirement = f"select 1 to {wanted} different positions from 0 to {pool - 1}, each with a score"
    elif not all(map(math.isfinite, plain.scores)):
        requirement = "return finite scores"
    elif not ({*plain.free} <= rows and {*plain.free.values()} <= {*range(classes)}):
        requirement = f"give free labels only to images that it selects, as class numbers from 0 to {classes - 1}"
    else:
        return plain
    raise ValueError(f"The acquisition function {name!r} must {requirement}.")


class Balanced(NamedTuple):
    """A pick of PCB.

    position: among the candidates.
    poorest: the class with the fewest labels at that moment.
    by_chance: whether that class had no candidate left, so that a random one was drawn.
    """

    position: int
    poorest: int
    by_chance: bool


def balance(predicted: Sequence[int], counts: Sequence[int], budget: int, give_up: bool) -> list[Balanced]:
    """PCB: pick for the class with the fewest labels, again and again; a pick counts as a label of its predicted class.

    All draws come from Python's generator, in the order of the reference: a shuffle for each pick.

    Args:
        predicted: class of each candidate, in the acquisition's order.
        counts: labelled images of each class, by true label.
        budget: how many picks; at most as many as candidates.
        give_up: when the poorest class has no candidate left, draw any candidate, without counting it (so that the
            rest is drawn at random too); else go on with the next poorest class that has one.
    """
    labels, left = list(counts), Counter(predicted)
    of_class: dict[int, list[int]] = {}
    for position, label in enumerate(predicted):
        of_class.setdefault(label, []).append(position)
    picks: list[Balanced] = []
    taken: set[int] = set()
    while len(picks) < budget:
        among = range(len(labels)) if give_up else sorted(label for label, count in left.items() if count)
        poorest = min(among, key=lambda label: labels[label])  # the first in ties
        shuffled = list(of_class.get(poorest, ()))
        random.shuffle(shuffled)  # picked ones too
        by_chance = not left[poorest]
        if by_chance:
            position = random.randint(0, len(predicted) - 1)
            while position in taken:
                position = random.randint(0, len(predicted) - 1)
        else:
            position = next(candidate for candidate in shuffled if candidate not in taken)
            labels[poorest] += 1
        left[predicted[position]] -= 1
        taken.add(position)
        picks.append(Balanced(position, poorest, by_chance))
    return picks
