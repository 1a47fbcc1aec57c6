"""Which runs a protocol is made of, in the family's folders, and which columns of a table they fill.

base2new              train on the base classes and test on them; test on the new classes
cross_dataset         train on all classes of a source, test on other data sets
domain_generalisation the same, tested on variants of the source
few_shot              train and test on all classes with 1, 2, 4, ... shots

A method that trains nothing is tested alone. The folders are those of the scripts, which share their runs with us.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

from experiments.spec import CROSS, Experiment, Method

H = "H"  # harmonic mean of base and new


class Job(NamedTuple):
    """One run of train.py.

    dataset: whose images are tested.
    column: the column of the table that its accuracy fills.
    folder: of its results, below the output folder.
    parent: folder of the training whose model is tested; empty if none is.
    tests: whether nothing is trained.
    options: settings of the protocol, (key, text) pairs.
    """

    method: Method
    dataset: str
    column: str
    seed: int
    folder: str
    parent: str
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
                parent = f"base2new/train_base/{tail}" if method.trains else ""
                for half in ("base", "new"):
                    trains = method.trains and half == "base"
                    yield Job(
                        method,
                        dataset,
                        half,
                        seed,
                        folder=parent if trains else f"base2new/test_{half}/{tail}",
                        parent="" if trains else parent,
                        tests=not trains,
                        options=(("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", half)),
                    )


def _cross(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots
    for method in experiment.methods:
        for seed in method.seeds:
            run = f"{method.trainer}/{method.folder}_{shots}shots/seed{seed}"
            parent = f"crossdataset/{experiment.source}/{run}" if method.trains else ""
            for dataset in (experiment.source, *experiment.datasets):
                trains = method.trains and dataset == experiment.source
                yield Job(
                    method,
                    dataset,
                    "accuracy",
                    seed,
                    folder=parent if trains else f"crossdataset/evaluation/{dataset}/{run}",
                    parent="" if trains else parent,
                    tests=not trains,
                    options=(("DATASET.NUM_SHOTS", str(shots)),) if trains else (),
                )


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
                        parent="",
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
