"""Time of a training step: ours, eager or compiled, the plain implementation, the official code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.gpu.clock import in_turn, medians
from benchmarks.gpu.ready import ready
from benchmarks.gpu.rows import NO_SLOWER, at_least
from benchmarks.gpu.sides import OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Task

WARM_UP = 6  # steps


def _calls(sides: dict[str, Side], task: Task, place: Place) -> dict[str, Callable[[int], object]]:
    images, labels = batch(task, place)

    def call(side: Side, number: int) -> object:
        return side.step(images, labels)

    return {name: partial(call, side) for name, side in sides.items()}


def measure(task: Task, place: Place) -> Found:
    """The others' milliseconds of a step over ours; ours reads no loss, the others read each, as their trainers do."""
    own = f"{OURS} {task.how}".strip()
    made = ready(list(dict.fromkeys([own, OURS, *others(task)])), task, place)
    rounds, round_ms = place.choose((5, 200.0), (2, 1.0))
    found = in_turn(
        _calls(made.sides, task, place),
        place.device,
        rounds=rounds,
        round_ms=round_ms,
        warm_up=place.choose(WARM_UP, 1),
    )
    ms, rows = medians(found), []
    for name in [name for name in ms if name != own]:
        detail = f"{ms[name]:.2f} / {ms[own]:.2f} ms"
        figure = f"step, {task.what}: {_eager(name)} / {_eager(own)}"
        rows.append(at_least(figure, ms[name] / ms[own], NO_SLOWER, detail, judged=not place.dry_run))
    rows += made.not_run(f"step, {task.what}: {{}} / {_eager(own)}")
    numbers = {"rounds_ms": found, "ms": ms, "lost": made.lost, "attention": made.attention}
    return Found(rows, numbers)


def _eager(name: str) -> str:
    return "ours eager" if name == OURS else name
