"""What an experiment file plans: an experiment, or parts of several protocols that are run and reported as one."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment, names_in, narrowed


class Plan(NamedTuple):
    """The experiments of a file: its parts, or the one that it is and that has its name."""

    name: str
    title: str
    notes: str
    slurm: dict[str, Any]
    parts: tuple[Experiment, ...]
    has_parts: bool = False


def only(plan: Plan, parts: Sequence[str]) -> Plan:
    """The plan with some of its parts; all where none is named.

    Raises:
        UserError: if there is no such part.
    """
    names = [part.name for part in plan.parts]
    for word in parts:
        if not plan.has_parts:
            raise UserError(f"--parts: {plan.name} has none")
        if word not in names:
            raise UserError(f"--parts: {plan.name} has no {word!r}{known_names(word, names)}")
    return plan._replace(parts=tuple(part for part in plan.parts if part.name in (parts or names)))


def narrowed_plan(plan: Plan, **given: Sequence[Any]) -> Plan:
    """The plan with some data sets, methods, seeds and acquisitions only; a part that has none of them is left out.

    Args:
        plan: the whole.
        given: names by what they are; see narrowed.

    Raises:
        UserError: if no part has one of them, or nothing is left.
    """
    if not plan.has_parts:
        return plan._replace(parts=(narrowed(plan.parts[0], **given),))
    for what, words in given.items():
        known = [name for part in plan.parts for name in names_in(part)[what]]
        for word in words:
            if word not in known:
                shown = sorted(set(map(str, known)))
                raise UserError(f"--{what}: {plan.name} has no {word!r}{known_names(str(word), shown)}")
    kept = [part for part in (_narrowed(part, given) for part in plan.parts) if part is not None]
    if not kept:
        raise UserError(f"no part of {plan.name} has all of that: name fewer")
    return plan._replace(parts=tuple(kept))


def _narrowed(part: Experiment, given: dict[str, Sequence[Any]]) -> Experiment | None:
    known = names_in(part)
    own = {what: [word for word in words if word in known[what]] for what, words in given.items()}
    if any(words and not own[what] for what, words in given.items()):
        return None
    if own.get("seeds") and not any(
        set(method.seeds) & set(own["seeds"])
        for method in part.methods
        if method.family in (own.get("methods") or known["methods"])
    ):
        return None
    return narrowed(part, **own)
