"""PREC amp with real loss scaling: steps that overflow change no prompt, and training goes on behind them."""

from __future__ import annotations

from typing import Any, List

import torch
from torch import Tensor

from benchmarks.gpu.sides import Side, batch, ours
from benchmarks.gpu.task import Found, Place, Row, Task

STEPS = 40
GOOD = 3  # steps that must follow


def _prompts(side: Side) -> List[Tensor]:
    return [x.detach().clone() for group in side.optimiser.param_groups for x in group["params"]]


def _same(one: List[Tensor], other: List[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def measure(task: Task, place: Place) -> Found:
    """How many steps overflowed and were skipped, and that each of the others moved the prompts.

    Raises:
        RuntimeError: if a step that overflowed changed a prompt, one that did not changed none, or none came through.
    """
    scale = place.choose(2.0**40, 2.0**127)  # the first one overflows for sure, in float32 sums too
    scaler: Any = torch.amp.GradScaler(place.device.type, init_scale=scale)
    side = ours(task, place, scaler=scaler)
    skipped, losses = 0, []
    for number in range(STEPS):
        before, scale = _prompts(side), scaler.get_scale()
        losses.append(float(side.step(*batch(task, place, number))))
        overflowed = scaler.get_scale() < scale
        if overflowed != _same(before, _prompts(side)):
            what = "changed the prompts" if overflowed else "changed no prompt"
            raise RuntimeError(
                f"step {number + 1}, whose gradients {'over' if overflowed else 'did not over'}flow, {what}"
            )
        skipped += overflowed
        if number + 1 - skipped == GOOD:
            break
    if not 0 < skipped <= STEPS - GOOD:
        raise RuntimeError(
            f"{skipped} of {len(losses)} steps overflowed: at least one and at most {STEPS - GOOD} should"
        )
    detail = f"scale 2^{torch.tensor(scaler.get_scale()).log2():.0f} in the end, {GOOD} steps behind them"
    row = Row(
        f"loss scaling, {task.what}: steps that overflowed, all skipped", f"{skipped} of {skipped}", "all", detail
    )
    return Found([row], {"skipped": skipped, "losses": losses, "scale": scaler.get_scale()})
