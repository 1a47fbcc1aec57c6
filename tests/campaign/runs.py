"""Kills of runners, workers and runs at random moments: the report of what is gone on with must be the undisturbed one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from modprompt.io.result import read_json
from tests.campaign.figures import Figure
from tests.campaign.kills import SAME, prepare, silent
from tests.conftest import SMALL_CONFIG
from tests.modprompt.experiments import kills

KILLS = 40
AT_A_TIME = 8  # on the way to one report
MOST_REPORTS = 24
WAYS: dict[str, tuple[Callable[..., int], float]] = {  # how, and each kill within which part of the undisturbed time
    "all processes": (kills.disturbed, 0.3),
    "single processes": (kills.disturbed_in_part, 0.12),
}
EXPERIMENT = """
protocol: base2new
datasets: [eurosat]
shots: 4
seeds: [1, 2]
options: {{MODEL.BACKBONE.PATH: {clip}, MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}
methods:
  MPL: {{trainer: MPL, config: ./small.yaml}}
"""


def prepare_experiment(scratch: Path, epochs: int) -> tuple[str, tuple[str, ...]]:
    """The experiment's file, and more words for its runner: two trainings, each with its test."""
    data = prepare(scratch)
    (scratch / "small.yaml").write_text(SMALL_CONFIG.replace("MAX_EPOCH: 2", f"MAX_EPOCH: {epochs}"))
    (scratch / "small-runs.yaml").write_text(EXPERIMENT.format(clip=scratch / "clip.pt"))
    return str(scratch / "small-runs.yaml"), ("--data", str(data), "--jobs", "2")


def results(out: Path) -> dict[str, tuple[object, ...]]:
    """What decides in each result."""
    found = {str(path.relative_to(out)): read_json(path) or {} for path in out.rglob("result.json")}
    return {name: tuple(str(content.get(key)) for key in SAME) for name, content in found.items()}


def _wrong(name: str, whole: Path, out: Path, words: tuple[str, ...]) -> str:
    """What differs from the undisturbed experiment, or is left; empty if nothing."""
    if not kills.all_ended(out, 20.0):
        return f"left {len(kills.processes_of(out))} processes"
    one, other = kills.report(name, whole, *words[:2]), kills.report(name, out, *words[:2])
    differing = sorted(part for part in {**one, **other} if one.get(part) != other.get(part))
    left = [path.name for path in out.rglob("*.part*")]
    if differing or results(whole) != results(out):
        return f"the report differs: {', '.join(differing) or 'its results'}"
    return f"left {left}" if left else ""


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """All processes at once, and single ones, in turn."""
    name, words = prepare_experiment(scratch, epochs=40)
    whole, figure = scratch / "undisturbed", Figure("kills of runs")
    start = time.monotonic()
    assert kills.start(name, whole, *words).wait() == 0, (whole / "runner.txt").read_text()[-500:]
    most_s = time.monotonic() - start
    number = 0
    while figure.tried < share * KILLS and number < MOST_REPORTS:
        which = list(WAYS)[number % 2]
        _to_a_report(figure, which, name, whole, most_s, random.Random(f"{seed} {number}"), words)
        number += 1
    return [figure]


def _to_a_report(
    figure: Figure, which: str, name: str, whole: Path, most_s: float, draw: random.Random, words: tuple[str, ...]
) -> None:
    """Some kills, then the report."""
    (way, part), out = WAYS[which], whole.with_name(f"killed-{figure.tried}")
    start, hit, fault = time.monotonic(), 0, ""
    try:
        with silent():
            hit = way(name, out, AT_A_TIME, part * most_s, draw, *words)
            fault = _wrong(name, whole, out, words)
    except AssertionError as error:
        fault = str(error)
    for _ in range(hit):
        figure.add(f"ended with the undisturbed report ({which})", (time.monotonic() - start) / hit)
    if fault:
        figure.faults.append(f"kills of runs: {which}, {hit} kills before kill {figure.tried}: {fault}")
