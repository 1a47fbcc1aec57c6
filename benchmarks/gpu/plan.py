"""The kinds of cases, and the cases as a list for each process. A new case is a line in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.gpu.measures import (
    at_once,
    attention,
    checks,
    counts,
    evaluation,
    images,
    losses,
    memory,
    precisions,
    resume,
    runs,
    scaling,
    start,
    steps,
    tests,
)
from benchmarks.gpu.task import Found, Place, Task
from modprompt.errors import UserError

METHODS = ("MPL", "MaPLe", "CoOp", "CoCoOp")  # also in the plain implementation and the official code
LEARN = (*METHODS, "PromptSRC", "TipAdapterF")  # their losses are compared with a CPU's


class Kind(NamedTuple):
    """The measurement of a kind of case, and the seconds that a case may take on a GPU once its process runs."""

    measure: Callable[[Task, Place], Found]
    limit_s: float = 60.0


KINDS: dict[str, Kind] = {
    "ready": Kind(checks.measure, 30),
    "tests": Kind(tests.measure, 120),
    "head": Kind(runs.measure),
    "search": Kind(runs.measure),
    "round": Kind(runs.measure),
    "forked": Kind(runs.measure),
    "resume": Kind(resume.measure, 150),
    "at-once": Kind(at_once.measure, 180),
    "losses": Kind(losses.measure, 180),
    "counts": Kind(counts.measure),
    "memory": Kind(memory.measure),
    "step": Kind(steps.measure, 90),
    "amp": Kind(scaling.measure),
    "precisions": Kind(precisions.measure),
    "test": Kind(images.measure),
    "attention": Kind(attention.measure),
    "start": Kind(start.measure),
    "evaluation": Kind(evaluation.measure, 240),
    "compiled": Kind(steps.measure, 400),
}


def on_cpu() -> list[Task]:
    """What the CPU computes at the same time, in a separate process."""
    return [Task("losses", method, 5, "fp32", how=losses.CPU) for method in LEARN]


def quick() -> list[list[Task]]:
    """The cases of nine minutes, in order; timed ones come when the CPU is done."""
    return [
        [Task("ready")],
        [Task("tests")],
        [
            Task("head", "TipAdapterF", 10, "fp16"),
            Task("search", "DPLSearch", 10, "fp16"),
            Task("round", "MPL", 10, "fp16"),
        ],
        [Task("forked", "MPL", 10, "fp16")],
        [Task("resume", "MPL", 4, "fp16")],
        [Task("at-once", "MPL", 4, "fp16")],
        [Task("losses", method, 5, "fp32") for method in LEARN],
        [Task("losses", method, 5, "fp16") for method in METHODS],  # apart: fp32 disables the official code's .half()
        [Task("start", "MPL", 5, "fp16")],
        *(_of(method) for method in METHODS),
    ]


def _of(method: str) -> list[Task]:
    """A method's cases of one process."""
    first = [
        Task("amp", method, 50, "amp"),
        Task("precisions", method, 50, "fp16"),
        Task("attention"),
    ]
    return [
        Task("counts", method, 50, "fp16"),
        *(Task("step", method, classes, "fp16") for classes in (5, 50, 1000)),
        Task("memory", method, 1000, "fp16"),
        Task("test", method, 50, "fp16"),
        *(first if method == "MPL" else []),
    ]


def rest() -> list[list[Task]]:
    """The further cases of --full; compiled ones come last, since they take longest."""
    return [
        [Task("evaluation", "MPL", 4, "fp16")],
        *(
            [
                Task("counts", method, 1000, "fp16"),
                Task("step", method, 200, "fp16"),
                Task("memory", method, 50, "fp16"),
                Task("test", method, 1000, "fp16"),
            ]
            for method in METHODS
        ),
        *(
            [Task("compiled", method, classes, "fp16", how=how) for classes in (50, 1000)]
            for how in ("default", "reduce-overhead")
            for method in METHODS
        ),
    ]


def tasks(full: bool = True) -> list[list[Task]]:
    """All cases, a list for each process."""
    return [on_cpu(), *quick(), *(rest() if full else [])]


def chosen(full: bool, only: Sequence[str]) -> list[list[Task]]:
    """The cases whose name begins with one of these words; all without one.

    Raises:
        UserError: if there is none for a word.
    """
    every = [task for group in tasks(full) for task in group]
    for word in only:
        if not any(task.name.startswith(word) for task in every):
            kinds = ", ".join(dict.fromkeys(task.kind for task in every))
            raise UserError(
                f"--only {word}: no case's name begins so; they begin with {kinds}, then as {every[-1].name}"
            )
    found = [[task for task in group if task.name.startswith(tuple(only) or "")] for group in tasks(full)]
    return [group for group in found if group]
