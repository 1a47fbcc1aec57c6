"""The kinds of cases and the cases, in the order in which they are worth knowing. A new one is a line in each."""

from __future__ import annotations

from typing import Callable, Dict, List

from benchmarks.gpu.measures import evaluation, graphs, launches, losses, memory, resume, scaling, steps
from benchmarks.gpu.task import Found, Place, Task
from modprompt.errors import UserError

METHODS = ("MPL", "MaPLe", "CoOp", "CoCoOp")
CLASSES = (5, 50, 200, 1000)
KINDS: Dict[str, Callable[[Task, Place], Found]] = {
    "losses": losses.measure,
    "step": steps.measure,
    "memory": memory.measure,
    "graph": graphs.measure,
    "evaluation": evaluation.measure,
    "amp": scaling.measure,
    "resume": resume.measure,
    "launches": launches.measure,
}


def _of(method: str) -> List[Task]:
    """The cases that every method has."""
    return [
        *(Task("losses", method, 50, precision) for precision in ("fp32", "fp16")),
        *(Task("step", method, classes) for classes in CLASSES),
        *(Task("step", method, classes, how="graph") for classes in (50, 1000)),
        *(Task("memory", method, classes) for classes in (50, 1000)),
        *(Task("graph", method, 50, precision) for precision in ("fp32", "fp16")),
        Task("launches", method, 50),
    ]


def tasks() -> List[Task]:
    """All cases: MPL's first, what is compiled last, since it takes longest."""
    first, *others = METHODS
    return [
        *_of(first),
        Task("amp", first, 50, "amp"),
        Task("resume", first, len(("river", "forest", "lake", "highway")), "fp16"),
        Task("evaluation", first, 4),
        *(task for method in others for task in _of(method)),
        *(Task("step", method, classes, how="default") for method in METHODS for classes in (50, 1000)),
    ]


def chosen(only: str) -> List[Task]:
    """The cases whose name begins so; all with "".

    Raises:
        UserError: if there is none.
    """
    found = [task for task in tasks() if task.name.startswith(only)]
    if not found:
        raise UserError(
            f"--only {only}: no case's name begins so; there are {', '.join(task.name for task in tasks())}"
        )
    return found
