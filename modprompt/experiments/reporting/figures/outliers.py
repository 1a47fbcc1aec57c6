"""Axis limits that ignore outliers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FAR = 8.0  # median distances from the median
_LEAST = 1.0  # of that distance, in points of accuracy


def limits(centres: Sequence[float], others: Sequence[float] = (), least: float = _LEAST) -> tuple[float, float]:
    """Limits that leave out what is more than eight median distances from the median, with some margin.

    Args:
        centres: what the axis is about, the means of methods; at least one.
        others: shown too, as far as they are near: values of seeds, ends of intervals.
        least: the smallest value of the median distance, in the unit of the values.
    """
    values = np.asarray(centres, dtype=float)
    middle = np.median(values)
    far = _FAR * max(float(np.median(np.abs(values - middle))), least)
    near = [value for value in (*centres, *others) if abs(value - middle) <= far]
    room = 0.06 * (max(near) - min(near)) or least
    return min(near) - room, max(near) + room
