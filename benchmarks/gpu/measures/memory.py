"""Memory of a training step: what the forward pass keeps for the backward pass, and the peak."""

from __future__ import annotations

import resource
from typing import Dict

import torch

from benchmarks.gpu.ready import ready, release, told
from benchmarks.gpu.sides import OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Row, Task

MIB = 2**20


def _held(device: torch.device) -> float:
    """MiB of tensors that are there; on a CPU the largest size of the process so far, which is no such figure."""
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.memory_allocated(device) / MIB


def _of(side: Side, task: Task, place: Place) -> Dict[str, float]:
    """MiB that the second step keeps for its backward pass, and MiB at its peak, weights included."""
    device, inputs = place.device, batch(task, place)
    before = _held(device)
    loss = side.loss(*inputs)
    kept = _held(device) - before
    del loss
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    side.step(*inputs)
    peak = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else _held(device)
    return {"kept_mib": kept, "peak_mib": peak}


def measure(task: Task, place: Place) -> Found:
    """Both of each side alone, one after the other; ours over the others'."""
    found: Dict[str, Dict[str, float]] = {}
    lost: Dict[str, str] = {}
    for name in [OURS, *others(place)]:
        sides, why = ready([name], task, place)
        lost.update(why)
        if sides:
            found[name] = _of(sides.pop(name), task, place)
        release(place)
    rows = []
    for key, what in (("kept_mib", "kept for the backward pass"), ("peak_mib", "peak of a step, weights included")):
        own = found[OURS][key]
        for name in [name for name in found if name != OURS]:
            other = found[name][key]
            asked = "<= 0.1" if (key, task.classes) == ("kept_mib", 1000) else ""
            ratio = f"{own / other:.3f}" if other else "-"
            rows.append(Row(f"{what}, {task.what}: ours / {name}", ratio, asked, f"{own:.0f} / {other:.0f} MiB"))
        if lost:
            rows.append(Row(f"{what}, {task.what}: ours", f"{own:.0f} MiB", "", "; ".join(told(lost))))
    return Found(rows, {"mib": found, "lost": lost})
