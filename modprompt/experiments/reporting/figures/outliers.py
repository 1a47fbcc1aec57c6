"""Limits of an axis that an outlier does not set."""

from __future__ import annotations

from typing import Sequence

import numpy as np

_FAR = 8.0  # median distances from the median
_LEAST = 1.0  # of that distance, in points of accuracy


def limits(centres: Sequence[float], others: Sequence[float] = (), least: float = _LEAST) -> tuple[float, float]:
    """What an axis shows: all but what is eight median distances from the median of what it is about, and some room.

    Args:
        centres: what the axis is about, the means of methods; at least one.
        others: what is shown beside them as far as it is near: values of seeds, ends of intervals.
        least: the smallest distance that is taken for the median one, in the unit of the values.
    """
    values = np.asarray(centres, dtype=float)
    middle = np.median(values)
    far = _FAR * max(float(np.median(np.abs(values - middle))), least)
    near = [value for value in (*centres, *others) if abs(value - middle) <= far]
    room = 0.06 * (max(near) - min(near)) or least
    return min(near) - room, max(near) + room
