"""Numbers of tables seed by seed, and the difference of two methods over common seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import comparable
from modprompt.experiments.reporting.paired import Difference, difference
from modprompt.experiments.reporting.results import Line, Results
from modprompt.io.base_new import harmonic_mean

HALVES = {"H": ALONE, "H (all)": tuple(TOGETHER.values())}
ZERO_SHOTS = "0"  # the column of few-shot runs for what trains nothing

Values = Mapping[int, float]  # percentages by seed


def own_column(results: Results, line: Line, column: str) -> str:
    """The column that has a method's numbers: one that trains nothing has one for all numbers of shots."""
    is_same = column.isdigit() and not line.trains and results.is_asked(line, ZERO_SHOTS)
    return ZERO_SHOTS if is_same else column


def by_seed(results: Results, line: Line, datasets: Sequence[str], column: str) -> Values:
    """A method's accuracy by seed, in percent, for the seeds that have one.

    Args:
        results: of the report.
        line: the method.
        datasets: the mean over these.
        column: of the tables; H of a seed is that of its own two halves.
    """
    if column in HALVES:
        base, new = (by_seed(results, line, datasets, half) for half in HALVES[column])
        return {seed: harmonic_mean(base[seed], new[seed]) for seed in base if seed in new}
    if results.parted(line, datasets):
        return {}
    of_each = [results.of_seeds(line, dataset, own_column(results, line, column)) for dataset in datasets]
    return {seed: fmean(one[seed] for one in of_each) for seed in line.seeds if all(seed in one for one in of_each)}


def is_drawn(line: Line) -> bool:
    """Whether seeds of a method may give different numbers: not if it trains nothing and has one run."""
    return line.trains or len(line.seeds) > 1


def minus(line: Line, own: Values, other: Line, others: Values) -> Difference | None:
    """One method's numbers minus another's; a method that draws nothing has its one number for every seed of the other.

    None where no seed has both.
    """
    if not is_drawn(line):
        own = {seed: value for seed in other.seeds for value in own.values()}
    elif not is_drawn(other):
        others = {seed: value for seed in line.seeds for value in others.values()}
    return difference(own, others)


def not_of_methods_alone(results: Results, line: Line, other: Line, datasets: Sequence[str]) -> list[str]:
    """Why one method's numbers minus another's, seed by seed, are not the difference of the methods alone."""
    differing = comparable.differing(results, line, other, datasets)
    made = [f"made with other {' and '.join(differing)}"] if differing else []
    there = [one for of in (line, other) for *_, one in results.all(of, datasets) if one.accuracy_pct is not None]
    made += ["from logs, which do not say the images of a seed"] if any(one.result is None for one in there) else []
    return made
