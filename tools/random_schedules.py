"""Draw the random vision schedules of the demo's claim: python tools/random_schedules.py  (without seeing any result)

As many tokens as MPL adds in its six layers: 1 in layer 0, 10 in layers 1 to 5 together. Removals are drawn
so that there are never more than 6.
"""

from __future__ import annotations

import argparse
import random
import sys

LAYERS, FIRST, ADDED, MOST = 6, 1, 10, 6


def draw(seed: int) -> list[list[int]]:
    """[removed, added] of each layer, for a seed."""
    rng = random.Random(seed)
    while True:
        added = [0] * (LAYERS - 1)
        for _ in range(ADDED):
            added[rng.randrange(LAYERS - 1)] += 1
        if max(added) <= MOST:
            break
    schedule, standing = [[0, FIRST]], FIRST
    for one in added:
        removed = rng.randint(max(0, standing + one - MOST), standing)
        standing += one - removed
        schedule.append([removed, one])
    return schedule


def main(argv: list[str] | None = None) -> int:
    """Exit code."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    for seed in range(1, 6):
        print(f"random {seed}: {draw(seed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
