"""Actual launches and waits of a step and a test, by PyTorch's profiler and its debug mode for waits."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.ready import ready
from benchmarks.gpu.rows import Row, at_most, holds, told
from benchmarks.gpu.sides import OFFICIAL, OURS, Side, batch, others
from benchmarks.gpu.task import Found, Place, Task

COUNTED = "python -m benchmarks.launches has what is counted without a GPU"
SAID = "called a synchronizing"  # PyTorch's warning at a wait; once it also says that this mode does not see all waits
STEPS = 2  # of each side first
LAUNCH, WAIT = ("cudaLaunchKernel", "cuLaunchKernel"), ("cudaStreamSync", "cudaDeviceSync", "cudaEventSync")


def counted(call: Callable[[], object], place: Place) -> dict[str, Any]:
    """Launches, waits and attention kernels of a call; on a CPU operations count as launches."""
    on_gpu = place.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        call()
    events: Any = found.events()
    names: list[str] = [event.name for event in events]
    if not on_gpu:
        leaves = sum(event.name.startswith("aten::") and not event.cpu_children for event in events)
        return {"launches": leaves, "synchronise": 0, "attention": []}
    return {
        "launches": sum(name.startswith(LAUNCH) for name in names),
        "synchronise": sum(name.startswith(WAIT) for name in names),
        "attention": sorted({event.name[:120] for event in events if _is_attention_kernel(event)}),
    }


def _is_attention_kernel(event: Any) -> bool:
    words = ("flash", "fmha", "attention", "sdpa")
    return event.device_type.name == "CUDA" and any(word in event.name.lower() for word in words)


def waits(call: Callable[[], object], place: Place) -> list[str]:
    """The waits of a call: every warning of PyTorch when the host waits for the GPU."""
    with warnings.catch_warnings(record=True) as seen, _told_of_waits(place):
        warnings.simplefilter("always")
        call()
    said = [str(one.message).partition("\n")[0] for one in seen]
    return [line for line in said if SAID in line]


@contextlib.contextmanager
def _told_of_waits(place: Place) -> Iterator[None]:
    if place.device.type == "cpu":
        yield
        return
    torch.cuda.synchronize()
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def measure(task: Task, place: Place) -> Found:
    """All of them for a step of each side, and the waits of a batch of a test."""
    made = ready([OURS, *others(task)], task, place, steps=STEPS)
    inputs = batch(task, place)
    found: dict[str, dict[str, Any]] = {}
    for name, side in made.sides.items():
        found[name] = {**counted(lambda side=side: side.step(*inputs), place), **_waits(side, inputs, place)}  # type: ignore[misc]
    rows = [*_launches(found, task, place), *_of_waits(found, task, place)]
    rows += [*made.not_run(f"launches of a step, {task.what}: ours / {{}}")]
    kinds = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in made.attention.items())
    kernels = "; ".join(f"{name}: {', '.join(one['attention'])}" for name, one in found.items() if one["attention"])
    rows.append(told(f"attention that ran in a step, {task.what}", kinds, kernels))
    return Found(rows, {"counts": found, "attention": made.attention, "lost": made.lost})


def _waits(side: Side, inputs: Any, place: Place) -> dict[str, list[str]]:
    side.test(inputs[0])  # first use, not part of a batch
    step, test = (waits(call, place) for call in (lambda: side.step(*inputs), lambda: side.test(inputs[0])))
    return {"step_waits": step, "test_waits": test}


def _launches(found: dict[str, dict[str, Any]], task: Task, place: Place) -> Iterator[Row]:
    own = found[OURS]["launches"]
    for name in [name for name in found if name != OURS]:
        other = max(1, found[name]["launches"])
        figure, detail = f"launches of a step, {task.what}: ours / {name}", f"{own} / {other}; {COUNTED}"
        if name == OFFICIAL and task.method != "CoCoOp":  # not counted by anybody
            yield at_most(figure, own / other, 0.75, detail, form=".2f", judged=not place.dry_run)
        else:
            yield told(figure, f"{own / other:.2f}", detail)


def _of_waits(found: dict[str, dict[str, Any]], task: Task, place: Place) -> Iterator[Row]:
    for name, one in found.items():
        for key, what in (("step_waits", "step"), ("test_waits", "batch of a test")):
            figure, number = f"waits of a {what}, {task.what}: {name}", len(one[key])
            said = [*dict.fromkeys(one[key])]
            said += [f"the profiler's synchronise calls: {one['synchronise']}"] if key == "step_waits" else []
            held = holds(figure, "0", str(number), not number, "; ".join(said), judged=not place.dry_run)
            yield held if name.startswith(OURS) else told(figure, str(number), held.detail)
