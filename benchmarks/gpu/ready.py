"""Sides that are built and can make a step; one that cannot does not end the case, unless it is ours."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.rows import Row, not_run
from benchmarks.gpu.sides import OURS, Side, batch, build
from benchmarks.gpu.task import Place, Task
from modprompt.programs import one_line

ATTENTION = ("flash", "efficient", "cudnn", "math")  # PyTorch's names of its kinds


class Ready(NamedTuple):
    """Sides by name.

    sides: those that have made their steps.
    lost: why the others have not.
    attention: the kinds of attention in each one's first step.
    """

    sides: dict[str, Side]
    lost: dict[str, str]
    attention: dict[str, list[str]]

    def not_run(self, figure: str) -> list[Row]:
        """A row for each lost side; `figure` has a {} for its name."""
        return [not_run(figure.format(name), why) for name, why in self.lost.items()]


def ready(names: Sequence[str], task: Task, place: Place, *, steps: int = 1) -> Ready:
    """Build sides and have each make some steps.

    Raises:
        Exception: whatever one of our sides raises.
    """
    found = Ready({}, {}, {})
    images, labels = batch(task, place)
    for name in names:
        try:
            side = build(name, task, place)
            if steps:
                found.attention[name] = attention_in(lambda side=side: side.step(images, labels))  # type: ignore[misc]
            for _ in range(steps - 1):
                side.step(images, labels)
        except Exception as error:  # mostly out of memory: then the others have it to themselves
            if name.startswith(OURS):
                raise
            found.lost[name] = one_line(error)[:200]
        else:
            found.sides[name] = side
    release(place)
    return found


def attention_in(call: Callable[[], object]) -> list[str]:
    """The kinds of attention that a call uses."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        call()
    events: Any = seen.events()
    names = {event.name for event in events if event.name.startswith("aten::_scaled_dot_product_")}
    return sorted(kind for kind in ATTENTION if any(kind in name and "backward" not in name for name in names))


def release(place: Place) -> None:
    """Release memory that is no longer used."""
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
