"""What an experiment is once its file is read and checked, and its parts."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan.method import Method
from modprompt.experiments.plan.rounds import Rounds

ACTIVE = "active"
VALIDATION = "validation"
BASE2NEW = "base2new"
OF_TREES = (BASE2NEW, "cross_dataset", "domain_generalisation", "few_shot")  # read from log files, too
PROTOCOLS = (*OF_TREES, ACTIVE, VALIDATION)
CROSS = ("cross_dataset", "domain_generalisation")


class Experiment(NamedTuple):
    """A checked experiment file."""

    name: str
    title: str
    protocol: str
    datasets: tuple[str, ...]
    source: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]  # of all methods together
    methods: tuple[Method, ...]
    highlight: str
    notes: str
    slurm: dict[str, Any]
    active: Rounds | None = None  # of protocol active
    together: bool = False  # of protocol base2new: all classes are tested, too

    @property
    def lines(self) -> list[Method]:
        """What has runs and a line in a report: the methods, in protocol active each under every acquisition."""
        return list(self.methods) if self.active is None else self.active.variants(self.methods)

    @property
    def grids(self) -> dict[str, tuple[str, ...]]:
        """The dotted keys of the grid of every method that has one."""
        return {method.family: tuple(key for key, _ in method.point) for method in self.methods if method.point}


def all_seeds(methods: Sequence[Method]) -> tuple[int, ...]:
    """The seeds of some methods together, in order."""
    return tuple(sorted({seed for method in methods for seed in method.seeds}))


def names_in(experiment: Experiment) -> dict[str, tuple[Any, ...]]:
    """What an experiment can be narrowed to: its data sets, methods, seeds and acquisitions."""
    return {
        "datasets": experiment.datasets,
        "methods": tuple(dict.fromkeys(method.family for method in experiment.methods)),
        "seeds": experiment.seeds,
        "acquisitions": experiment.active.acquisitions if experiment.active else (),
    }


def narrowed(
    experiment: Experiment,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    acquisitions: Sequence[str] = (),
) -> Experiment:
    """The experiment with some of its data sets, methods, seeds and acquisitions only; all where nothing is given.

    Raises:
        UserError: if one of them is not in the experiment.
    """
    given = {"datasets": datasets, "methods": methods, "seeds": seeds, "acquisitions": acquisitions}
    for what, known in names_in(experiment).items():
        for word in given[what]:
            if word not in known:
                raise UserError(
                    f"--{what}: {experiment.name} has no {word!r}" + known_names(str(word), [str(k) for k in known])
                )
    families = names_in(experiment)["methods"]
    kept = [
        method._replace(seeds=tuple(seed for seed in method.seeds if seed in (seeds or method.seeds)))
        for method in experiment.methods
        if method.family in (methods or families)
    ]
    kept = [method for method in kept if method.seeds]
    if not kept:
        raise UserError(f"--seeds: no method of {experiment.name} that is left has one of them")
    active = experiment.active
    if active and acquisitions:
        active = active._replace(acquisitions=tuple(name for name in active.acquisitions if name in acquisitions))
    return experiment._replace(
        active=active,
        datasets=tuple(name for name in experiment.datasets if name in (datasets or experiment.datasets)),
        seeds=all_seeds(kept),
        methods=tuple(kept),
        highlight=experiment.highlight if experiment.highlight in {m.family for m in kept} else kept[-1].family,
    )


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
