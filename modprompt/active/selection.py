"""Which images a round asks labels for: an acquisition's choice, alone or balanced by PCB.

It draws from Python's and NumPy's generators; PyTorch's is not touched.

Shapes: U images without a label, C classes.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from modprompt.active import badge, clusters, coreset, uncertainty  # noqa: F401 - they enter their acquisitions
from modprompt.active.acquisition import Acquisition, Choice, Seen, find, rows_of
from modprompt.active.balance import balance
from modprompt.checks import at_most
from modprompt.data.rounds import NONE, PCB_ALONE, RANDOM, Active
from modprompt.errors import SettingError, UserError


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
    method = settings.method
    if not settings.rounds and method:
        text = f" is {method!r}, but ACTIVE.ROUNDS is 0, so nothing is chosen: give the number of rounds"
        raise SettingError([("ACTIVE.METHOD", text)])
    if not settings.rounds:
        return
    if not method:
        text = " is empty, but ACTIVE.ROUNDS is not 0: give an acquisition, or none with ACTIVE.PCB True for PCB alone"
        raise SettingError([("ACTIVE.METHOD", text)])
    find(method)
    if method == NONE and not settings.pcb:
        raise SettingError([("ACTIVE.METHOD", " none chooses nothing by itself: it needs ACTIVE.PCB True")])
    at_most("ACTIVE.GAMMA", settings.gamma, 1)


def has_pcb(settings: Active) -> bool:
    """Whether PCB picks from what the acquisition gives."""
    return settings.pcb or settings.method == PCB_ALONE


def candidates(settings: Active, budget: int, images: int, pool: int) -> int:
    """How many images the acquisition is asked for.

    Args:
        settings: of the rounds.
        budget: labels that are asked for in a round.
        images: in the whole pool, labelled ones included.
        pool: without a label.

    Raises:
        SettingError: if there are fewer than the budget.
    """
    if pool < budget:
        text = f": {budget} labels a round are asked for, but only {pool} images have no label: ask for fewer"
        raise SettingError([("ACTIVE.BUDGET", text)])
    if not has_pcb(settings) or settings.method == RANDOM:
        return budget
    if settings.method == NONE:
        return pool
    share = math.floor(images * settings.gamma)
    if share < budget:
        text = (
            f" {settings.gamma} of {images} images makes {share} candidates, fewer than the {budget} labels of a round "
            "(ACTIVE.BUDGET): give a larger share, or ask for fewer labels"
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
        SettingError: if there are too few images or candidates.
        UserError: if the model's numbers are not finite.
        ValueError: if an acquisition chooses images that do not exist.
    """
    wanted = candidates(settings, budget, images, len(seen.features))
    if not all(_is_finite(part) for part in seen if isinstance(part, Tensor)):
        text = "the model that chooses images gives numbers that are not finite: its training has diverged"
        raise UserError(f"{text}; lower OPTIM.LR")
    used = _acquisition(settings)
    choice = _checked(used.name, used.choose(seen, wanted), wanted, len(seen.features), len(names))
    probability, predicted = (values[choice.positions].tolist() for values in seen.probabilities.max(dim=1))
    whys = [f"{used.score} {score:.3g}" if used.score else used.name for score in choice.scores]
    order = list(range(len(choice.positions)))
    if has_pcb(settings):
        picks = balance(predicted, counts, min(budget, len(order)), settings.give_up)
        for position, poorest, by_chance in picks:
            said = "had no candidate left: by chance" if by_chance else "had the fewest labels"
            whys[position] += f"; {names[poorest]!r} {said}"
        order = [pick.position for pick in picks]
    chosen = []
    for place in order:
        position = choice.positions[place]
        free = choice.free.get(position)
        why = whys[place] if free is None else f"free label {names[free]!r}; {whys[place]}"
        score = choice.scores[place] if used.score else None
        chosen.append(Pick(position, predicted[place], probability[place], score, why, free))
    return chosen


def _is_finite(numbers: Tensor) -> bool:
    return all(bool(block.isfinite().all()) for block in numbers.split(rows_of(numbers)))


def _acquisition(settings: Active) -> Acquisition:
    """The acquisition of the settings; for BADGE with the rows that they ask for."""
    used = find(settings.method)
    if used.choose is badge.badge and settings.badge_rows == "reference":
        return used._replace(choose=badge.badge_of_reference)
    return used


def _checked(name: str, choice: Any, wanted: int, pool: int, classes: int) -> Choice:
    """A choice in plain numbers, whatever types an acquisition, maybe a user's own, gives.

    Raises:
        ValueError: unless it chose images that exist, once each.
    """
    try:
        positions, scores, free = choice
        labels = {int(position): int(label) for position, label in dict(free).items()}
        plain = Choice([int(position) for position in positions], [float(score) for score in scores], labels)
    except (TypeError, ValueError):
        said = f"must give a Choice of positions and scores, got a {type(choice).__name__}"
        raise ValueError(f"acquisition {name!r} {said}") from None
    rows = {*plain.positions}
    exist = len(rows) == len(plain.positions) and all(0 <= row < pool for row in rows)
    fits = 0 < len(rows) <= wanted and len(rows) == len(plain.scores)
    faults = {
        f"chose rows twice or outside of 0 to {pool - 1}": not exist,
        f"chose {len(rows)} rows with {len(plain.scores)} scores; {wanted} are wanted, each with a score": not fits,
        "gave a score that is not finite": not all(map(math.isfinite, plain.scores)),
        "labels images that it did not choose": not {*plain.free} <= rows,
        "labels images with classes that do not exist": not {*plain.free.values()} <= {*range(classes)},
    }
    for fault, is_so in faults.items():
        if is_so:
            raise ValueError(f"acquisition {name!r} {fault}")
    return plain
