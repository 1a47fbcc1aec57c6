"""What Hypothesis draws, handed out one after the other: as many as are asked for, all of them from a seed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

_Drawn = TypeVar("_Drawn")
_MOST = 20  # draws for each that counts


def each(strategy: SearchStrategy[_Drawn], count: int, seed: Hashable, work: Callable[[_Drawn], Any]) -> int:
    """Do `work` with what a strategy draws, each once.

    Args:
        strategy: draws what has a hash.
        count: how many.
        seed: decides what is drawn; anything that prints the same each time.
        work: gets one; it must not raise. False if that one does not count, and another is drawn for it.

    Returns:
        How many counted; fewer than `count` if the strategy has no more.
    """
    seen: set[Hashable] = set()
    counted, before = 0, -1
    while before < len(seen) < _MOST * count and counted < count:
        before = len(seen)

        @hypothesis.seed(f"{seed} {before}")
        @settings(
            max_examples=count,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(drawn: _Drawn) -> None:
            nonlocal counted
            if counted < count and drawn not in seen:
                seen.add(drawn)
                counted += work(drawn) is not False

        one()
    return counted
