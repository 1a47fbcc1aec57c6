"""Part "flips": single flipped bits in files of every kind."""

from __future__ import annotations

from pathlib import Path

from tests.campaign import damage
from tests.campaign.figures import Figure


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """A row for kinds with a checksum, where a flipped bit is found or changes nothing, and one for the others."""
    return damage.over_all_kinds("flipped bits", damage.flip, damage.FLIPS, scratch, seed, share)
