"""Which images a round asks labels for: an acquisition's choice, alone or balanced by PCB.

It draws from Python's and NumPy's generators; PyTorch's is not touched.

Shapes: U images without a label, C classes.
"""

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from modprompt.active import badge, blocks, clusters, coreset, uncertainty  # noqa: F401 - they register themselves
from modprompt.active.acquisition import Acquisition, Choice, Seen, find
from modprompt.active.balance import balance
from modprompt.checks import at_most
from modprompt.data.rounds import NONE, PCB_ALONE, RANDOM, Active
from modprompt.errors import SettingError, UserError


class Pick(NamedTuple):
    """An image to be labelled.

    position: row of the unlabelled images.
    score: the acquisition's; None if it has none.
    reason: why, for people.
    predicted: the class of the largest probability, the first in ties.
    probability: that class's.
    free: the label that the model itself gives it; None if it is asked for.
    """

    position: int
    score: float | None
    reason: str
    predicted: int
    probability: float
    free: int | None


def check(settings: Active) -> None:
    """Refuse settings that do not go together.

    Raises:
        SettingError: on an unknown acquisition (the message names the nearest), rounds without one, one without
            rounds, "none" without PCB, a share above 1.
    """
    if not settings.rounds:
        if settings.method:
            text = f" is {settings.method!r}, but ACTIVE.ROUNDS is 0, so nothing is chosen: give the number of rounds"
            raise SettingError([("ACTIVE.METHOD", text)])
        return
    if not settings.method:
        text = " is empty, but ACTIVE.ROUNDS is not 0: give an acquisition, or none with ACTIVE.PCB True for PCB alone"
        raise SettingError([("ACTIVE.METHOD", text)])
    find(settings.method)
    if settings.method == NONE and not settings.pcb:
        raise SettingError([("ACTIVE.METHOD", " none chooses nothing by itself: it needs ACTIVE.PCB True")])
    at_most("ACTIVE.GAMMA", settings.gamma, 1)


def has_pcb(settings: Active) -> bool:
    """Whether PCB picks from what the acquisition gives."""
    return settings.pcb or settings.method == PCB_ALONE


def first_at_random(pool: int, budget: int) -> list[int]:
    """Rows for the first round, if the acquisition does not choose it: one `sample` of Python's generator."""
    return random.sample(range(pool), budget)


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
            f" {settings.gamma} of {images} images makes {share} candidates, fewer than the {budget} labels of a round"
        )
        raise SettingError([("ACTIVE.GAMMA", f"{text} (ACTIVE.BUDGET): give a larger share, or ask for fewer labels")])
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
    if not all(_is_finite(one) for one in seen if isinstance(one, Tensor)):
        text = "the model that chooses images gives numbers that are not finite: its training has diverged"
        raise UserError(f"{text}; lower OPTIM.LR")
    used = _acquisition(settings)
    choice = _plain(used.name, used.choose(seen, wanted))
    _check_choice(used.name, choice, wanted, len(seen.features), len(names))
    probability, predicted = (one[choice.positions].tolist() for one in seen.probabilities.max(dim=1))
    whys = [f"{used.score} {score:.3g}" if used.score else used.name for score in choice.scores]
    order = list(range(len(choice.positions)))
    if has_pcb(settings):
        picks = balance(predicted, counts, min(budget, len(order)), settings.give_up)
        for position, poorest, by_chance in picks:
            said = "had no candidate left: by chance" if by_chance else "had the fewest labels"
            whys[position] += f"; {names[poorest]!r} {said}"
        order = [pick.position for pick in picks]
    found = []
    for one in order:
        free = choice.free.get(choice.positions[one])
        why = whys[one] if free is None else f"free label {names[free]!r}; {whys[one]}"
        score = choice.scores[one] if used.score else None
        found.append(Pick(choice.positions[one], score, why, predicted[one], probability[one], free))
    return found


def _is_finite(numbers: Tensor) -> bool:
    return all(bool(block.isfinite().all()) for block in blocks.of(numbers))


def _acquisition(settings: Active) -> Acquisition:
    """The acquisition of the settings; for BADGE with the rows that they ask for."""
    found = find(settings.method)
    if found.choose is badge.badge and settings.badge_rows == "reference":
        return found._replace(choose=badge.badge_of_reference)
    return found


def _plain(name: str, choice: Any) -> Choice:
    """A choice in plain numbers, whatever types an acquisition, maybe a user's own, gives.

    Raises:
        ValueError: if it is no choice.
    """
    try:
        positions, scores, free = choice
        labels = {int(position): int(label) for position, label in dict(free).items()}
        return Choice([int(one) for one in positions], [float(one) for one in scores], labels)
    except (TypeError, ValueError):
        what = type(choice).__name__
        raise ValueError(f"acquisition {name!r} must give a Choice of positions and scores, got a {what}") from None


def _check_choice(name: str, choice: Choice, wanted: int, pool: int, classes: int) -> None:
    """Raise ValueError unless an acquisition, maybe a user's own, chose images that exist, once each."""
    positions = choice.positions
    if len(set(positions)) < len(positions) or not all(0 <= one < pool for one in positions):
        raise ValueError(f"acquisition {name!r} chose rows twice or outside of 0 to {pool - 1}: {positions[:20]}")
    if not 0 < len(positions) <= wanted or len(choice.scores) != len(positions):
        numbers = f"{len(positions)} rows with {len(choice.scores)} scores"
        raise ValueError(f"acquisition {name!r} chose {numbers}; {wanted} are wanted, each with a score")
    if not all(math.isfinite(score) for score in choice.scores):
        raise ValueError(f"acquisition {name!r} gave a score that is not finite")
    if not set(choice.free) <= set(positions):
        raise ValueError(f"acquisition {name!r} labels images that it did not choose")
    if not all(0 <= label < classes for label in choice.free.values()):
        raise ValueError(f"acquisition {name!r} labels images with classes that do not exist")
