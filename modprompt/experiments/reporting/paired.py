"""One method minus another, pair by pair: the mean difference, a t interval, a paired t-test, and Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from modprompt.experiments.reporting.intervals import interval

FEWEST_TESTED = 5  # pairs that a test needs
_EQUAL = 1e-9  # percentage points: one image in a million is more


class Difference(NamedTuple):
    """One method minus another, in percentage points.

    by_seed: of each pair.
    mean: of these.
    interval: of the mean, by Student's t with n - 1 degrees of freedom; None for one pair, and where all are equal.
    p: of the paired t-test, two-sided; None for fewer than `FEWEST_TESTED` pairs, and where all are equal.
    p_holm: the same by Holm's correction, once `corrected` has made it.
    """

    by_seed: Mapping[int, float]
    mean: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def is_constant(self) -> bool:
        """Whether several pairs have the same difference, so that there is neither interval nor test."""
        return len(self.by_seed) > 1 and self.interval is None


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """The difference of two methods over the seeds for which both have a number; None if there is none.

    Args:
        one: percentages by seed, finite: a result with any other number counts as damaged, and does not get here.
        other: those that are subtracted.
    """
    seeds = [seed for seed in one if seed in other]
    by_seed = {seed: one[seed] - other[seed] for seed in seeds}
    if not by_seed:
        return None
    found, values = Difference(by_seed, fmean(by_seed.values())), list(by_seed.values())
    if max(values) - min(values) < _EQUAL:  # also of one pair
        return found
    found = found._replace(interval=interval(values))
    if len(values) < FEWEST_TESTED:
        return found
    from scipy import stats  # late: it takes a second, and few reports compare

    test = stats.ttest_rel([one[seed] for seed in seeds], [other[seed] for seed in seeds])
    return found._replace(p=float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number m, in their order.

    Holm, 1979 (Scandinavian Journal of Statistics 6, 65-70): the k-th smallest, k from 0, is multiplied by m - k, is
    at most 1, and is at least the one before it.
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = least
    return corrected


def corrected(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """The same with `p_holm`, over those that have a p."""
    tested = [(at, one.p) for at, one in enumerate(differences) if one is not None and one.p is not None]
    of_place = dict(zip((at for at, _ in tested), holm([p for _, p in tested])))
    return [one if one is None else one._replace(p_holm=of_place.get(at)) for at, one in enumerate(differences)]
