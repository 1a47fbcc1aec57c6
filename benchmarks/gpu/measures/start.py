"""The time of a process to its first step, and of its first epoch; in a separate process."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.gpu.ready import attention_in
from benchmarks.gpu.rows import told
from benchmarks.gpu.sides import OURS, batch, build
from benchmarks.gpu.task import Found, Place, Task

EPOCH = 20  # steps: EuroSAT's base classes with 16 shots


def _seconds(call: Callable[[], object], place: Place) -> float:
    began = time.perf_counter()
    call()
    if place.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(task: Task, place: Place) -> Found:
    """Seconds of building, the first step, the first test, the first epoch and a later one."""
    steps = place.choose(EPOCH, 5)
    made = []
    building = _seconds(lambda: made.append(build(f"{OURS} {task.how}".strip(), task, place)), place)
    side, inputs = made[0], [batch(task, place, number) for number in range(steps)]

    def epoch() -> None:
        for one in inputs:
            side.step(*one)

    first = _seconds(lambda: side.step(*inputs[0]), place)
    epochs = [first + _seconds(lambda: [side.step(*one) for one in inputs[1:]], place)]
    epochs += [_seconds(epoch, place) for _ in range(2)]
    test = _seconds(lambda: side.test(inputs[0][0]), place)
    attention = attention_in(lambda: side.step(*inputs[0]))
    what = f"{task.what}, {task.how or 'eager'}"
    rows = [
        told(f"start, {what}: model and weights on the device", f"{building:.1f} s"),
        told(f"start, {what}: first step", f"{first:.2f} s", f"a later one {epochs[-1] / steps:.4f} s"),
        told(
            f"start, {what}: first epoch of {steps} steps / third",
            f"{epochs[0] / epochs[2]:.1f}",
            f"{epochs[0]:.2f} / {epochs[2]:.2f} s",
        ),
        told(f"start, {what}: first batch of a test", f"{test:.2f} s"),
    ]
    numbers = {"build_s": building, "first_step_s": first, "epochs_s": epochs, "first_test_s": test}
    return Found(rows, {**numbers, "attention": attention})
