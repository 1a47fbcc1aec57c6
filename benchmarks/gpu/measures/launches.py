"""Kernels that a step really launches, by PyTorch's profiler, beside what benchmarks.launches counts without a card."""

from __future__ import annotations

from typing import Any, Callable

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.ready import ready, told
from benchmarks.gpu.sides import OURS, batch, others
from benchmarks.gpu.task import Found, Place, Row, Task

COUNTED = "python -m benchmarks.launches has what is counted without a card"


def kernels(call: Callable[[], object], place: Place) -> int:
    """Kernels of a call on a card; on a CPU the operations that call no other one."""
    kinds = [ProfilerActivity.CPU, *place.choose([ProfilerActivity.CUDA], [])]
    with profile(activities=kinds) as found:
        call()
    events: Any = found.events()
    if place.device.type == "cuda":
        return sum(event.name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for event in events)
    return sum(event.name.startswith("aten::") and not event.cpu_children for event in events)


def measure(task: Task, place: Place) -> Found:
    """Launches of the second step of each side, and the ratio."""
    sides, lost = ready([OURS, *others(place)], task, place)
    inputs = batch(task, place)
    found = {name: kernels(lambda side=side: side.step(*inputs), place) for name, side in sides.items()}  # type: ignore[misc]
    rows = []
    for name in [name for name in found if name != OURS]:
        ratio = f"{found[OURS] / found[name]:.2f}"
        detail = f"{found[OURS]} / {found[name]}; {COUNTED}"
        asked = "<= 0.75" if name == "official" and task.method != "CoCoOp" else ""
        rows.append(Row(f"launches of a step, {task.what}: ours / {name}", ratio, asked, detail))
    if lost:
        rows.append(Row(f"launches of a step, {task.what}: ours", str(found[OURS]), "", "; ".join(told(lost))))
    return Found(rows, {"launches": found, "lost": lost})
