"""How sure a mean over seeds is: its 95% interval by Student's t with n - 1 degrees of freedom, for seeds alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

LEVEL = 95  # of an interval, in percent
NAME = f"{LEVEL}% t interval over seeds"


def half_width(values: Sequence[float]) -> float | None:
    """Half of the interval of a mean, in the unit of the values; None for fewer than two.

    t(0.975, n - 1) s / sqrt(n), with n - 1 in the denominator of s; 0.975 is 1/2 + LEVEL/200.
    """
    if len(values) < 2:
        return None
    from scipy.stats import t  # late: it takes a second, and comes with scikit-learn

    return float(t.ppf(0.5 + LEVEL / 200, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The interval of a mean, in the unit of the values; None for fewer than two."""
    half = half_width(values)
    return None if half is None else (fmean(values) - half, fmean(values) + half)
