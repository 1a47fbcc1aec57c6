"""Sides that are built and can make a step; a side that cannot does not end the case, unless it is ours."""

from __future__ import annotations

import gc
from typing import Dict, List, Sequence, Tuple

import torch

from benchmarks.gpu.sides import OURS, Side, batch, build
from benchmarks.gpu.task import Place, Task
from modprompt.programs import one_line


def ready(names: Sequence[str], task: Task, place: Place, *, steps: int = 1) -> Tuple[Dict[str, Side], Dict[str, str]]:
    """The sides that have made some steps, by name, and of the others why they have not.

    Raises:
        Exception: what one of our sides raises.
    """
    sides: Dict[str, Side] = {}
    lost: Dict[str, str] = {}
    images, labels = batch(task, place)
    for name in names:
        try:
            side = build(name, task, place)
            for _ in range(steps):
                side.step(images, labels)
        except Exception as error:  # out of memory, most of all: the others have it to themselves then
            if name.startswith(OURS):
                raise
            lost[name] = one_line(error)[:200]
        else:
            sides[name] = side
    release(place)
    return sides, lost


def release(place: Place) -> None:
    """Hand memory back that nothing uses any more."""
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()


def told(lost: Dict[str, str]) -> List[str]:
    """What a row says of sides that could not run."""
    return [f"{name} could not run: {why}" for name, why in lost.items()]
