"""Differences by pairs: intervals and tests are scipy's, Holm's correction that of his paper, and nothing is made up."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from modprompt.experiments.reporting.paired import corrected, difference, holm


def test_hand_computed_mean_and_interval():
    """Differences 1, 2, 3, 4, 5: mean 3, s = sqrt(2.5), t(0.975, 4) = 2.7764, half-width 2.7764 * s / sqrt(5)."""
    found = difference({1: 11, 2: 12, 3: 13, 4: 14, 5: 15}, dict.fromkeys(range(1, 6), 10))
    assert found.by_seed == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
    assert found.mean == 3
    assert found.interval == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)
    assert found.p == pytest.approx(0.01324, abs=1e-5)  # t = 3 / (sqrt(2.5) / sqrt(5)) = 4.2426
    assert found.p_holm is None


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10])
def test_interval_and_p_are_scipys(n):
    draw = np.random.default_rng(n)
    one, other = (dict(zip(range(n), draw.uniform(60, 90, n).tolist())) for _ in range(2))
    found, of_scipy = difference(one, other), stats.ttest_rel(list(one.values()), list(other.values()))
    assert found.interval == pytest.approx(tuple(of_scipy.confidence_interval(0.95)))
    assert found.p == (pytest.approx(of_scipy.pvalue) if n >= 5 else None)


def test_a_seed_of_one_side_alone_is_in_no_pair():
    found = difference({1: 80.0, 2: 81.0, 7: 99.0}, {2: 80.0, 1: 70.0, 3: 0.0})
    assert found.by_seed == {1: 10.0, 2: 1.0}
    assert difference({1: 80.0}, {2: 80.0}) is None
    assert difference({}, {}) is None


def test_one_pair_has_neither_interval_nor_test():
    found = difference({1: 80.0}, {1: 70.0})
    assert (found.mean, found.interval, found.p, found.is_constant) == (10.0, None, None, False)


@pytest.mark.parametrize("step", [0.0, 1.1])
def test_equal_differences_have_neither_and_warn_of_nothing(step):
    one = {seed: 70 + 0.1 * seed for seed in range(6)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = difference(one, {seed: value - step for seed, value in one.items()})
    assert found.mean == pytest.approx(step)
    assert (found.interval, found.p, found.is_constant) == (None, None, True)


def test_hand_computed_holm():
    """Sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last is not below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_rejects_what_stepping_down_rejects():
    draw = np.random.default_rng(0)
    for _ in range(200):
        p_values = (draw.random(draw.integers(1, 8)) ** 3).tolist()
        rejected = set()
        for rank, at in enumerate(np.argsort(p_values).tolist()):
            if p_values[at] > 0.05 / (len(p_values) - rank):
                break
            rejected.add(at)
        assert {at for at, p in enumerate(holm(p_values)) if p <= 0.05} == rejected


def test_what_has_no_p_counts_for_no_correction():
    spread = {seed: 80.0 + seed for seed in range(5)}
    tested = difference(spread, {seed: 78.0 + 0.5 * seed for seed in range(5)})
    again = difference(spread, {seed: 81.0 + (-1) ** seed for seed in range(5)})
    equal = difference(spread, spread)
    found = corrected([tested, None, equal, again])
    assert found[1] is None
    assert found[2].p_holm is None
    assert [found[0].p_holm, found[3].p_holm] == holm([tested.p, again.p])
    assert not any(math.isnan(one.p_holm) for one in (found[0], found[3]))
