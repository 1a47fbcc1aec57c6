"""An experiment after its file was read and checked, and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.method import Method

VALIDATION = "validation"
BASE2NEW = "base2new"
BASE, ALL_CLASSES = "base", "all"  # of protocol validation
HIGHEST, NO_COLLAPSE = "highest", "no_collapse"  # rules of `experiment choose`
OF_CONFIG, SMALLEST = "config", "smallest"  # which of equal values it takes
OF_TREES = (BASE2NEW, "cross_dataset", "domain_generalisation", "few_shot")  # also read from log files
ACTIVE, ACQUISITIONS = "active", "acquisitions"  # the protocol of rounds, and what it is narrowed to besides
PROTOCOLS = (*OF_TREES, ACTIVE, VALIDATION)
CROSS = ("cross_dataset", "domain_generalisation")


class Added(Protocol):
    """The part of an experiment that belongs to the protocol of rounds (modprompt/active/plan.py)."""

    @property
    def shots(self) -> tuple[int, ...]:
        """Training images of each class, in few-shot runs to compare with."""

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """What the experiment can be narrowed to besides its data sets, methods and seeds, by flag."""

    def narrowed(self, kept: Mapping[str, tuple[Any, ...]]) -> Added:
        """The same with some of these names."""

    def variants(self, methods: Sequence[Method]) -> list[Method]:
        """The methods that have runs and a line in a report."""

    def jobs(self, experiment: Experiment) -> Iterator[Job]:
        """The runs."""

    def columns_of(self, method: Method, experiment: Experiment) -> tuple[str, ...]:
        """The columns that runs of a line fill."""


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
    added: Added | None = None  # of the protocol of a feature
    together: bool = False  # of protocol base2new: all classes are tested too
    classes: str = BASE  # of protocol validation: whose labels are seen
    rule: str = HIGHEST  # of protocol validation: by which `experiment choose` chooses
    ties: str = OF_CONFIG  # of protocol validation: which of equal values it takes
    chosen: str = ""  # what its methods' settings were chosen by, in words
    compare: str = ""  # the label of the method whose differences from all others are reported; empty for none

    @property
    def lines(self) -> list[Method]:
        """The methods that have runs and a line in a report; the protocol of a feature may make several of one."""
        return list(self.methods) if self.added is None else self.added.variants(self.methods)

    @property
    def grids(self) -> dict[str, tuple[str, ...]]:
        """The dotted keys of the grid of every method that has one."""
        return {method.family: tuple(key for key, _ in method.point) for method in self.methods if method.point}

    @property
    def names(self) -> dict[str, tuple[Any, ...]]:
        """What it can be narrowed to: its data sets, methods, seeds, and the acquisitions of rounds."""
        return {
            "datasets": self.datasets,
            "methods": tuple(dict.fromkeys(method.family for method in self.methods)),
            "seeds": self.seeds,
            ACQUISITIONS: (),
            **(self.added.names if self.added else {}),
        }


def all_seeds(methods: Sequence[Method]) -> tuple[int, ...]:
    """The seeds of some methods together, in order."""
    return tuple(sorted({seed for method in methods for seed in method.seeds}))


class Plan(NamedTuple):
    """The experiments of a file: its parts, or the one that it is and that has its name."""

    name: str
    title: str
    notes: str
    slurm: dict[str, Any]
    parts: tuple[Experiment, ...]
    has_parts: bool = False


def only(plan: Plan, parts: Sequence[str]) -> Plan:
    """The plan with some of its parts; all if none is named.

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


def narrowed(plan: Plan, **given: Sequence[Any]) -> Plan:
    """The plan with only some data sets, methods, seeds and the like; a part that has none of them is left out.

    Args:
        plan: the whole.
        given: names by kind; all if nothing is given.

    Raises:
        UserError: if no part has one of them, or nothing is left.
    """
    for what, words in given.items():
        known = list(dict.fromkeys(str(name) for part in plan.parts for name in part.names[what]))
        for word in words:
            if str(word) not in known:
                raise UserError(f"--{what}: {plan.name} has no {word!r}{known_names(str(word), known)}")
    kept = tuple(part for part in (_narrowed(part, given) for part in plan.parts) if part is not None)
    if not kept and plan.has_parts:
        raise UserError(f"no part of {plan.name} has all of that: name fewer")
    if not kept:
        raise UserError(f"--seeds: no method of {plan.name} that is left has one of them")
    return plan._replace(parts=kept)


def _narrowed(part: Experiment, given: Mapping[str, Sequence[Any]]) -> Experiment | None:
    """What is left of a part; None for nothing."""

    def some(what: str, there: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(name for name in there if name in (given.get(what) or there))

    kept = {what: some(what, there) for what, there in part.names.items()}
    own = [method for method in part.methods if method.family in kept["methods"]]
    methods = [method._replace(seeds=seeds) for method in own if (seeds := some("seeds", method.seeds))]
    if not methods or any(words and not kept[what] for what, words in given.items()):
        return None
    return part._replace(
        added=part.added and part.added.narrowed(kept),
        datasets=kept["datasets"],
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=part.highlight if part.highlight in {method.family for method in methods} else methods[-1].family,
    )
