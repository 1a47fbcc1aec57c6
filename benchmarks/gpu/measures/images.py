"""Images per second of a test on tensors that are on the GPU: ours, the plain implementation, the official code."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.gpu.clock import in_turn, medians
from benchmarks.gpu.ready import ready
from benchmarks.gpu.rows import NO_SLOWER, at_least
from benchmarks.gpu.sides import OURS, batch, others
from benchmarks.gpu.task import Found, Place, Task


def measure(task: Task, place: Place) -> Found:
    """In turn, with the batch sizes of the published configs: 100 (CoCoOp 4)."""
    count = place.choose({"CoCoOp": 4}.get(task.method, 100), 2)
    made, (images, _) = ready([OURS, *others(task)], task, place), batch(task, place, count=count)
    calls: dict[str, Callable[[int], object]] = {
        name: (lambda number, side=side: side.test(images))  # type: ignore[misc]
        for name, side in made.sides.items()
    }
    rounds, round_ms = place.choose((3, 300.0), (1, 1.0))
    ms = medians(in_turn(calls, place.device, rounds=rounds, round_ms=round_ms, warm_up=1))
    rate, rows = {name: 1000 * count / taken for name, taken in ms.items()}, []
    for name in [name for name in rate if name != OURS]:
        figure, detail = f"test, {task.what}: ours / {name}", f"{rate[OURS]:.0f} / {rate[name]:.0f} images/s"
        rows.append(at_least(figure, rate[OURS] / rate[name], NO_SLOWER, detail, judged=not place.dry_run))
    rows += made.not_run(f"test, {task.what}: ours / {{}}")
    return Found(rows, {"images_per_s": rate, "lost": made.lost, "attention": made.attention})
