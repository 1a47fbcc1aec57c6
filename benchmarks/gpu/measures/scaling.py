"""PREC amp with real loss scaling: steps that overflow change no prompt, and training goes on after them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.rows import holds
from benchmarks.gpu.sides import Side, batch, ours
from benchmarks.gpu.task import Found, Place, Task

STEPS = 40
GOOD = 3  # steps that must follow


def _prompts(side: Side) -> list[Tensor]:
    return [x.detach().clone() for group in side.optimiser.param_groups for x in group["params"]]


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def measure(task: Task, place: Place) -> Found:
    """How many steps overflowed, and how many did what they should: skip, or move the prompts."""
    scale = place.choose(2.0**40, 2.0**127)  # the first certainly overflows, in float32 sums too
    scaler: Any = torch.amp.GradScaler(place.device.type, init_scale=scale)
    side = ours(task, place, scaler=scaler)
    skipped, wrong, losses = 0, 0, []
    for number in range(STEPS):
        before, scale = _prompts(side), scaler.get_scale()
        losses.append(float(side.step(*batch(task, place, number))))
        overflowed = scaler.get_scale() < scale
        wrong += overflowed != _same(before, _prompts(side))
        skipped += overflowed
        if number + 1 - skipped == GOOD:
            break
    log2 = float(torch.tensor(scaler.get_scale()).log2())
    detail = f"{skipped} of {len(losses)} steps overflowed, scale 2^{log2:.0f} in the end"
    right, held = len(losses) - wrong, not wrong and 0 < skipped <= STEPS - GOOD
    figure = f"loss scaling, {task.what}: steps that overflow are skipped, {GOOD} others move the prompts"
    row = holds(figure, "all", f"{right} of {len(losses)}", held, detail)
    return Found([row], {"skipped": skipped, "wrong": wrong, "losses": losses, "scale": scaler.get_scale()})
