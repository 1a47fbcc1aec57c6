"""Kills of a search for a schedule, which leaves alphas, schedule.json and a picture."""

from __future__ import annotations

from pathlib import Path

from tests.campaign import kills
from tests.campaign.figures import Figure

SEARCH = {
    "TRAINER.DPLSEARCH.PREC": "fp32",
    "TRAINER.DPLSEARCH.N_CTX_TEXT": 2,
    "TRAINER.DPLSEARCH.N_CTX_VISION": 3,
    "TRAINER.DPLSEARCH.ALPHA_BATCH": 6,
    "DATASET.NUM_SHOTS": 2,
    "TRAIN.CHECKPOINT_FREQ": 1,
}


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """All of its changes."""
    tree = kills.prepare(scratch)
    work = kills.Work("kills of a search", tree, kills.trained("DPLSearch", SEARCH), kills.facts_of_run)
    return [kills.killed(work, scratch, seed, share)]
