"""Losses of steps as a CUDA graph against eager ones, changes of the rate included."""

from __future__ import annotations

from typing import List

from benchmarks.gpu.measures.losses import apart
from benchmarks.gpu.sides import OURS, Side, batch, build
from benchmarks.gpu.task import Found, Place, Row, Task

RATES = (0.0035, 0.0035, 0.0035, 0.0035, 0.0035, 0.01, 0.01, 0.002, 0.002, 0.0, 0.02, 0.02)  # recorded at the fourth


def _losses(side: Side, task: Task, place: Place) -> List[float]:
    losses = []
    for number, rate in enumerate(RATES):
        for group in side.optimiser.param_groups:
            group["lr"] = rate
        losses.append(side.step(*batch(task, place, number)))
    return [float(loss) for loss in losses]


def measure(task: Task, place: Place) -> Found:
    """The largest difference of a loss, and, in a dry run, whether the step was recorded.

    Raises:
        RuntimeError: if it was not, on a card.
    """
    eager = _losses(build(OURS, task, place), task, place)
    side = build(f"{OURS} graph", task, place)
    graph = _losses(side, task, place)
    note = side.note()
    if note and not place.dry_run:
        raise RuntimeError(note)
    most = "not recorded" if note else f"{apart(eager, graph):.1e}"
    figure = f"losses of {len(RATES)} steps, {task.what}: graph against eager, at most apart"
    asked = "<= 1e-5" if task.precision == "fp32" else ""
    detail = f"{note or 'recorded and replayed'}; losses {eager[0]:.4f} to {eager[-1]:.4f}"
    return Found([Row(figure, most, asked, detail)], {"eager": eager, "graph": graph, "note": note})
