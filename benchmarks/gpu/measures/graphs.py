"""Losses of steps as a CUDA graph against eager ones, with changes of the learning rate."""

from __future__ import annotations

from benchmarks.gpu.measures.losses import apart
from benchmarks.gpu.rows import at_most, holds
from benchmarks.gpu.sides import OURS, Side, batch, build
from benchmarks.gpu.task import Found, Place, Task

RATES = (0.0035, 0.0035, 0.0035, 0.0035, 0.0035, 0.01, 0.01, 0.002, 0.002, 0.0, 0.02, 0.02)  # recorded at the fourth

MOST = {"fp32": 1e-4, "fp16": 1e-2}


def _losses(side: Side, task: Task, place: Place) -> list[float]:
    losses = []
    for number, rate in enumerate(RATES):
        for group in side.optimiser.param_groups:
            group["lr"] = rate
        losses.append(side.step(*batch(task, place, number)))
    return [float(loss) for loss in losses]


def measure(task: Task, place: Place) -> Found:
    """Whether the step was recorded, and the largest difference of a loss."""
    eager = _losses(build(OURS, task, place), task, place)
    side = build(f"{OURS} graph", task, place)
    graph, note = _losses(side, task, place), side.note()
    figure = f"losses of {len(RATES)} steps, {task.what}: recorded against eager, at most apart"
    rows = [
        holds(f"recorded, {task.what}", "yes", note or "yes", not note, judged=not place.dry_run),
        at_most(figure, apart(eager, graph), MOST[task.precision], f"losses {eager[0]:.4f} to {eager[-1]:.4f}"),
    ]
    return Found(rows, {"eager": eager, "graph": graph, "note": note})
