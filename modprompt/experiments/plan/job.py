"""One run of an experiment, and the first stage before a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from modprompt.experiments.plan.method import Method


class Job(NamedTuple):
    """One run of train.py.

    dataset: whose images are tested.
    column: the column of the table that its accuracy fills.
    folder: of its results, below the output folder.
    parent: the training whose model is tested, if there is one.
    tests: whether nothing is trained.
    options: settings of the protocol, (key, text) pairs.
    first: the first stage of a training, or of that whose model is tested.
    of_first: settings of the protocol for its first stage instead; None for the same.
    stage: the feature whose first stage this is: its result is trained, and it fills no column.
    is_front: whether it is only there as another method's first stage: its own method's job fills the column.
    keeps: whether its test keeps the image features.
    features: tests whose kept image features serve this one; it runs after the last of them.
    """

    method: Method
    dataset: str
    column: str
    seed: int
    folder: str = ""
    parent: Job | None = None
    tests: bool = False
    options: tuple[tuple[str, str], ...] = ()
    first: Job | None = None
    of_first: tuple[tuple[str, str], ...] | None = None
    stage: str = ""
    is_front: bool = False
    keeps: bool = False
    features: tuple[Job, ...] = ()

    @property
    def needs(self) -> Job | None:
        """The run that must be finished before: a test's training, a first stage, the last test that keeps features."""
        return self.features[-1] if self.features else self.parent or self.first

    @property
    def kind(self) -> str:
        """A first stage of a feature by its name, "training" or "test"."""
        return self.stage or ("test" if self.tests else "training")

    @property
    def alike(self) -> tuple[Any, ...]:
        """What runs that differ only in their seed have in common."""
        return self.method.label, self.dataset, self.column, self.options, self.kind

    @property
    def title(self) -> str:
        """The run in a few words."""
        what = "train" if self.kind == "training" else self.kind
        return f"{self.method.label}, {self.dataset} {self.column}, seed {self.seed} ({what})"


def staged(job: Job, folder: Callable[[Method], str]) -> list[Job]:
    """A training, and before it its first stage, if its method has one.

    Args:
        job: the training.
        folder: gives the folder of a method's trainings of that kind.
    """
    method = job.method
    if method.stage is None:
        return [job]
    seed = job.seed if method.stage_seed is None else method.stage_seed
    options = job.options if job.of_first is None else job.of_first
    first = job._replace(method=method.stage, seed=seed, folder=f"{folder(method.stage)}/seed{seed}", options=options)
    if method.front is not None:
        first = first._replace(is_front=True)
    else:
        first = first._replace(folder=f"{method.stage_of}/{first.folder}", stage=method.stage_of, keeps=False)
    return [first, job._replace(first=first)]
