"""Losses of some steps from the same prompts on the same batches: a GPU's and a CPU's, ours and the others'."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from benchmarks.gpu.ready import attention_in, ready
from benchmarks.gpu.rows import Row, at_most, not_run
from benchmarks.gpu.sides import OFFICIAL, OURS, Side, batch, build, others
from benchmarks.gpu.task import Found, Place, Task

CPU = "cpu"  # in a case, for the side that a CPU computes
ON_CPU = "ours on a CPU"
MOST = {"fp32": 1e-3, "fp16": 1e-2}


def steps(place: Place) -> int:
    """How many steps a curve has."""
    found: int = place.choose(20, 3)
    return found


def curve(side: Side, task: Task, place: Place, count: int) -> list[float]:
    """The losses of `count` steps."""
    losses = [side.step(*batch(task, place, number)) for number in range(count)]
    return [float(loss) for loss in losses]


def apart(one: list[float], other: list[float]) -> float:
    """The largest difference of two curves; NaN if one of them has a NaN."""
    differences = [abs(a - b) for a, b in zip(one, other)]
    return max(differences) if all(value == value for value in differences) else float("nan")


def _on_cpu(task: Task, place: Place) -> Found:
    """Our curve on the CPU, for the rows of the GPU's case; on half of the cores, since others measure."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    own = place._replace(on_cpu=True)
    return Found([], {"losses": {ON_CPU: curve(build(OURS, task, own), task, own, steps(place))}})


def _of_cpu(task: Task, place: Place) -> dict[str, list[float]]:
    """What `_on_cpu` has found for the same case; nothing if it failed."""
    path = Path(place.folder) / f"{task._replace(how=CPU).name}.json"
    found = json.loads(path.read_text(encoding="utf-8"))["found"]
    return dict(found["numbers"]["losses"]) if found else {}


def measure(task: Task, place: Place) -> Found:
    """The largest difference of a loss, over all steps from the first; for a CPU's case only its curve."""
    if task.how == CPU:
        return _on_cpu(task, place)
    count = steps(place)
    made = ready([OURS, *others(task)], task, place, steps=0)
    curves: dict[str, list[float]] = {}
    for name, side in made.sides.items():
        curves[name], made.attention[name] = _watched(side, task, place, count)
    own, rows = curves[OURS], []
    figure = f"losses of {count} steps, {task.what}: ours against {{}}, at most apart"
    if task.precision == "fp32":
        known = _of_cpu(task, place)
        curves.update(known)
        rows += [] if known else [not_run(figure.format(ON_CPU), "the CPU's side failed")]
    for name in [name for name in curves if name != OURS]:
        how = f"{name} (its .half() does nothing)" if name == OFFICIAL and task.precision == "fp32" else name
        rows.append(_row(figure.format(how), own, curves[name], MOST[task.precision]))
    return Found([*rows, *made.not_run(figure)], {"losses": curves, "lost": made.lost, "attention": made.attention})


def _watched(side: Side, task: Task, place: Place, count: int) -> tuple[list[float], list[str]]:
    """A curve, and its kinds of attention."""
    losses: list[float] = []
    kinds = attention_in(lambda: losses.extend(curve(side, task, place, count)))
    return losses, kinds


def _row(figure: str, own: list[float], other: list[float], most: float) -> Row:
    detail = f"first step {abs(own[0] - other[0]):.1e}; losses {own[0]:.4f} to {own[-1]:.4f}"
    return at_most(figure, apart(own, other), most, detail)
