"""Memory of a training step: kept by the forward pass for the backward pass, at its peak, and reserved."""

from __future__ import annotations

import resource

import torch

from benchmarks.gpu.ready import ready, release
from benchmarks.gpu.rows import Row, at_most, told
from benchmarks.gpu.sides import OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Task

MIB = 2**20
STEPS = 2


def _held(device: torch.device) -> float:
    """MiB of all tensors; on a CPU only a substitute: the largest size of the process so far."""
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.memory_allocated(device) / MIB


def _of(side: Side, task: Task, place: Place) -> dict[str, float]:
    """MiB that a step keeps for its backward pass, at its peak with weights, and that PyTorch has reserved."""
    device, inputs = place.device, batch(task, place)
    before = _held(device)
    loss = side.loss(*inputs)
    found = {"kept_mib": _held(device) - before}
    del loss
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(STEPS):
        side.step(*inputs)
    on_gpu = device.type == "cuda"
    found["peak_mib"] = torch.cuda.max_memory_allocated(device) / MIB if on_gpu else _held(device)
    found["reserved_mib"] = torch.cuda.memory_reserved(device) / MIB if on_gpu else _held(device)
    return found


def measure(task: Task, place: Place) -> Found:
    """All of them for each side alone, one after the other; ours over the others'."""
    found: dict[str, dict[str, float]] = {}
    lost: dict[str, str] = {}
    rows: list[Row] = []
    attention: dict[str, list[str]] = {}
    for name in [OURS, *others(task)]:
        made = ready([name], task, place)
        lost.update(made.lost)
        attention.update(made.attention)
        rows += made.not_run(f"memory of a step, {task.what}: ours / {{}}")
        if made.sides:
            found[name] = _of(made.sides.pop(name), task, place)
        release(place)
    return Found([*_rows(found, task, place), *rows], {"mib": found, "lost": lost, "attention": attention})


def _rows(found: dict[str, dict[str, float]], task: Task, place: Place) -> list[Row]:
    own, rows = found[OURS], []
    what = {"kept_mib": "kept for the backward pass", "peak_mib": "peak of a step, weights included"}
    for key, said in what.items():
        for name in [name for name in found if name != OURS]:
            other = found[name][key]
            ratio = own[key] / other if other else float("nan")
            most = 0.1 if (key, task.classes) == ("kept_mib", 1000) else 1.0
            figure, detail = f"{said}, {task.what}: ours / {name}", f"{own[key]:.0f} / {other:.0f} MiB"
            rows.append(at_most(figure, ratio, most, detail, form=".3f", judged=not place.dry_run))
    return [*rows, told(f"reserved after {STEPS} steps, {task.what}", f"{own['reserved_mib']:.0f} MiB")]
