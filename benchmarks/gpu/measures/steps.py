"""Time of a training step: ours, eager or compiled or as a graph, the plain implementation, the official code."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, List

from benchmarks.gpu.clock import in_turn, medians
from benchmarks.gpu.ready import ready, told
from benchmarks.gpu.sides import OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Row, Task

WARM_UP = 6  # steps: a graph is recorded at the fourth


def _calls(sides: Dict[str, Side], task: Task, place: Place) -> Dict[str, Callable[[int], object]]:
    images, labels = batch(task, place)

    def call(side: Side, number: int) -> object:
        return side.step(images, labels)

    return {name: partial(call, side) for name, side in sides.items()}


def measure(task: Task, place: Place) -> Found:
    """Milliseconds of a step and the others' over ours; ours reads no loss, the others every one, as trainers do."""
    own = f"{OURS} {task.how}".strip()
    names = list(dict.fromkeys([own, OURS, *others(place)]))
    sides, lost = ready(names, task, place)
    rounds, round_ms = place.choose((5, 400.0), (2, 1.0))
    found = in_turn(
        _calls(sides, task, place), place.device, rounds=rounds, round_ms=round_ms, warm_up=place.choose(WARM_UP, 1)
    )
    ms = medians(found)
    note = sides[own].note()
    rows: List[Row] = []
    for name in [name for name in ms if name != own]:
        detail = f"{ms[name]:.2f} / {ms[own]:.2f} ms" + (f"; {note}" if note else "")
        rows.append(Row(f"step, {task.what}: {_eager(name)} / {_eager(own)}", f"{ms[name] / ms[own]:.2f}", "", detail))
    if lost:
        rows.append(Row(f"step, {task.what}: {_eager(own)} alone", f"{ms[own]:.2f} ms", "", "; ".join(told(lost))))
    return Found(rows, {"rounds_ms": found, "ms": ms, "note": note, "lost": lost})


def _eager(name: str) -> str:
    return "ours eager" if name == OURS else name
