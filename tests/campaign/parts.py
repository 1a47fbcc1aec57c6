"""The parts of the campaign: each a function in a module of its own, run in a process of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.campaign.figures import Figure

ROOT = Path(__file__).resolve().parents[2]


class Part(NamedTuple):
    """A part.

    name: on the command line.
    module: in this package; its `run(scratch, seed, share)` gives the figures.
    rows: what it has in the table.
    """

    name: str
    module: str
    rows: tuple[str, ...]


_LIMITS = ("small disk", "full disk", "small files", "few open files", "little memory", "little data")
# the longest first, so that two processes end together
PARTS: tuple[Part, ...] = (
    Part("kills-of-rounds", "kills_rounds", ("kills of a labelling round",)),
    Part("kills-of-a-training", "kills_training", ("kills of a training",)),
    Part("kills-of-runs", "runs", ("kills of runs",)),
    Part("kills-of-splits", "kills_splits", ("kills of making splits, few-shot lists and listings",)),
    Part("limits", "limits", tuple(f"limits: {kind}" for kind in _LIMITS)),
    Part(
        "at-once",
        "at_once",
        ("processes at once on fresh data", "trainings at once in one folder", "runners at once on one experiment"),
    ),
    Part("kills-of-a-search", "kills_search", ("kills of a search",)),
    Part("torch-files", "torch_files", ("hostile torch files",)),
    Part(
        "corruptions",
        "damage",
        ("corruptions of files", "corruptions of files (no checksum)", "wrong types, sealed again"),
    ),
    Part("flips", "flips", ("flipped bits", "flipped bits (no checksum)")),
)
Run = Callable[[Path, int, float], "list[Figure]"]


def run_of(part: Part) -> Run:
    """A part's function.

    Its arguments: `scratch`, an empty folder of its own; `seed`; `share`, of all that the part has to try, from
    above 0 to 1: tests run a small one.
    """
    run: Run = importlib.import_module(f"tests.campaign.{part.module}").run
    return run


def command(part: Part, scratch: Path, seed: int, share: float, answer: Path) -> list[str]:
    """The words that run a part in a process of its own, which writes its figures as JSON into `answer`."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.campaign.part", part.name, str(scratch), str(seed)]
    return [*words, str(share), str(answer)]
