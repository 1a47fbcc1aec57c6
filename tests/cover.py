"""Which cases of a product are run quickly: those of `@pytest.mark.cover(n)`; all others are slow ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations


def chosen(cases: Sequence[Mapping[str, int]], count: int) -> list[int]:
    """Places of `count` cases which together have as many of the values of each parameter, then of pairs, as they can.

    Args:
        cases: of each, by parameter, which of its values it has.
        count: of those that are chosen, if there are as many.
    """
    seen: set[frozenset] = set()
    found: list[int] = []
    while len(found) < min(count, len(cases)):
        left = [place for place in range(len(cases)) if place not in found]
        # of those that bring most the one that is farthest from all that are chosen, or the first
        best = max(
            left,
            key=lambda place: (
                [len(new - seen) for new in _values_and_pairs(cases[place])],
                min((abs(place - other) for other in found), default=0),
                -place,
            ),
        )
        seen.update(*_values_and_pairs(cases[best]))
        found.append(best)
    return sorted(found)


def _values_and_pairs(case: Mapping[str, int]) -> tuple[set[frozenset], set[frozenset]]:
    values = [*case.items()]
    return {frozenset([one]) for one in values}, {frozenset(pair) for pair in combinations(values, 2)}


def left_out(items: Iterable) -> list:
    """Items that their marker `cover` leaves to the slow cases."""
    products: dict[tuple, list] = {}
    for item in items:
        if item.get_closest_marker("cover") and not item.get_closest_marker("slow"):
            products.setdefault((item.parent.nodeid, item.originalname), []).append(item)
    found = []
    for product in products.values():
        product.sort(key=lambda item: [*item.callspec.indices.values()])
        kept = chosen([item.callspec.indices for item in product], product[0].get_closest_marker("cover").args[0])
        found += [item for place, item in enumerate(product) if place not in kept]
    return found
