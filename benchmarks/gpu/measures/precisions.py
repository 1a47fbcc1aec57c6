"""Steps in each precision: the first losses against float32's, and the time."""

from __future__ import annotations

import torch

from benchmarks.gpu.clock import in_turn, medians
from benchmarks.gpu.measures.losses import apart, curve
from benchmarks.gpu.rows import Row, at_most, told
from benchmarks.gpu.sides import Side, batch, ours
from benchmarks.gpu.task import Found, Place, Task

MOST = {"fp16": 1e-2, "amp": 1e-2, "bf16": 1e-1}  # differences of a loss near 4, with logits of 14 times a cosine
STEPS = 3


def _side(task: Task, place: Place, precision: str) -> Side:
    scale = 2.0**10  # low enough that no step is skipped
    scaler = torch.amp.GradScaler(place.device.type, init_scale=scale) if precision == "amp" else None
    return ours(task._replace(precision=precision), place, scaler=scaler)


def measure(task: Task, place: Place) -> Found:
    """Our losses of some steps in fp32, fp16, amp and bf16, then the time of a step of each."""
    sides = {precision: _side(task, place, precision) for precision in ("fp32", *MOST)}
    curves: dict[str, list[float]] = {name: curve(side, task, place, STEPS) for name, side in sides.items()}
    inputs, (rounds, round_ms) = batch(task, place), place.choose((3, 200.0), (1, 1.0))
    calls = {name: (lambda number, side=side: side.step(*inputs)) for name, side in sides.items()}
    ms = medians(in_turn(calls, place.device, rounds=rounds, round_ms=round_ms, warm_up=place.choose(3, 1)))
    rows: list[Row] = []
    for name, most in MOST.items():
        where = f"{task.method}, {task.classes} classes"
        figure = f"losses of {STEPS} steps, {where}: {name} against fp32, at most apart"
        rows.append(at_most(figure, apart(curves["fp32"], curves[name]), most))
        ratio = f"{ms['fp32'] / ms[name]:.2f}"
        rows.append(told(f"step, {where}: fp32 / {name}", ratio, f"{ms['fp32']:.2f} / {ms[name]:.2f} ms"))
    return Found(rows, {"losses": curves, "ms": ms})
