"""Losses of some steps from the same prompts on the same batches: ours, the plain implementation, the official code."""

from __future__ import annotations

from typing import Dict, List

from benchmarks.gpu.ready import ready, told
from benchmarks.gpu.sides import OFFICIAL, OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Row, Task


def curve(side: Side, task: Task, place: Place, steps: int) -> List[float]:
    """The losses of so many steps."""
    losses = [side.step(*batch(task, place, number)) for number in range(steps)]
    return [float(loss) for loss in losses]


def apart(one: List[float], other: List[float]) -> float:
    """The largest difference of two curves; not a number if there is none in one of them."""
    differences = [abs(a - b) for a, b in zip(one, other)]
    return max(differences) if all(value == value for value in differences) else float("nan")


def measure(task: Task, place: Place) -> Found:
    """The largest difference of a loss, over steps from the first on."""
    steps = place.choose(12, 3)
    sides, lost = ready([OURS, *others(place)], task, place, steps=0)
    curves: Dict[str, List[float]] = {name: curve(side, task, place, steps) for name, side in sides.items()}
    own = curves[OURS]
    rows = []
    for name in [name for name in curves if name != OURS]:
        how = " (its .half() does nothing)" if name == OFFICIAL and task.precision == "fp32" else ""
        first, most = abs(own[0] - curves[name][0]), apart(own, curves[name])
        detail = f"first step {first:.1e}; losses {own[0]:.4f} to {own[-1]:.4f}"
        figure = f"losses of {steps} steps, {task.what}: ours against {name}{how}, at most apart"
        rows.append(Row(figure, f"{most:.1e}", "<= 1e-4" if task.precision == "fp32" else "", detail))
    if lost:
        rows.append(Row(f"losses, {task.what}", "-", "", "; ".join(told(lost))))
    return Found(rows, {"losses": curves, "lost": lost})
