"""Which runs a protocol is made of, in the family's folders, and which columns of a table they fill.

base2new              train on the base classes and test on them; test on the new classes
cross_dataset         train on all classes of a source, test on other data sets
domain_generalisation the same, tested on variants of the source
few_shot              train and test on all classes with 1, 2, 4, ... shots

A method that trains nothing is tested alone. The folders are those of the scripts, which share their runs with us.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.method import Method

H = "H"  # harmonic mean of base and new


class Job(NamedTuple):
    """One run of train.py.

    dataset: whose images are tested.
    column: the column of the table that its accuracy fills.
    folder: of its results, below the output folder.
    parent: the training whose model is tested, if there is one.
    tests: whether nothing is trained.
    options: settings of the protocol, (key, text) pairs.
    """

    method: Method
    dataset: str
    column: str
    seed: int
    folder: str
    parent: Job | None
    tests: bool
    options: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The run in a few words."""
        what = "test" if self.tests else "train"
        return f"{self.method.label}, {self.dataset} {self.column}, seed {self.seed} ({what})"


def _base2new(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots
    for dataset in experiment.datasets:
        for method in experiment.methods:
            for seed in method.seeds:
                tail = f"{dataset}/shots_{shots}/{method.trainer}/{method.folder}/seed{seed}"
                training = None
                for half in ("base", "new"):
                    trains = method.trains and half == "base"
                    job = Job(
                        method,
                        dataset,
                        half,
                        seed,
                        folder=f"base2new/{'train' if trains else 'test'}_{half}/{tail}",
                        parent=training,
                        tests=not trains,
                        options=(("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", half)),
                    )
                    training = job if trains else training
                    yield job


def _cross(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots
    for method in experiment.methods:
        for seed in method.seeds:
            run = f"{method.trainer}/{method.folder}_{shots}shots/seed{seed}"
            training = None
            for dataset in (experiment.source, *experiment.datasets):
                trains = method.trains and dataset == experiment.source
                job = Job(
                    method,
                    dataset,
                    "accuracy",
                    seed,
                    folder=f"crossdataset/{dataset if trains else f'evaluation/{dataset}'}/{run}",
                    parent=training,
                    tests=not trains,
                    options=(("DATASET.NUM_SHOTS", str(shots)),) if trains else (),
                )
                training = job if trains else training
                yield job


def _few_shot(experiment: Experiment) -> Iterator[Job]:
    for dataset in experiment.datasets:
        for method in experiment.methods:
            for seed in method.seeds:
                for shots in experiment.shots if method.trains else (0,):
                    yield Job(
                        method,
                        dataset,
                        str(shots),
                        seed,
                        folder=f"{dataset}/{method.trainer}/eval/{method.folder}_{shots}shots/seed{seed}",
                        parent=None,
                        tests=not method.trains,
                        options=(("DATASET.NUM_SHOTS", str(shots)),) if method.trains else (),
                    )


def jobs(experiment: Experiment) -> list[Job]:
    """All runs of an experiment, each behind the training it needs."""
    make = {"base2new": _base2new, "few_shot": _few_shot}.get(experiment.protocol, _cross)
    return list(make(experiment))


def columns(experiment: Experiment) -> tuple[str, ...]:
    """The columns that runs fill, for each data set."""
    if experiment.protocol == "base2new":
        return ("base", "new")
    if experiment.protocol in CROSS:
        return ("accuracy",)
    zero = () if all(method.trains for method in experiment.methods) else ("0",)
    return (*zero, *(str(shots) for shots in experiment.shots))
