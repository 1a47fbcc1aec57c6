"""The runs of base to new: trained and tested on the base classes, tested on the new ones, and on both together.

What belongs to the classes of its training has the first alone.
"""

from __future__ import annotations

from functools import partial
from typing import Iterator

from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.job import Job, staged
from modprompt.experiments.plan.kinds import binds
from modprompt.experiments.plan.method import Method

ALONE = ("base", "new")  # the columns that runs on one half of the classes fill
ALL = "all"  # of a run that tests all classes
TOGETHER = {"base": "base (all)", "new": "new (all)"}  # the columns that it fills, by half of the test images


def base2new(experiment: Experiment) -> Iterator[Job]:
    """The runs of an experiment of that protocol, on each data set of each method and seed."""
    for dataset in experiment.datasets:
        for method in experiment.methods:
            for seed in method.seeds:
                yield from _runs(experiment, dataset, method, seed)


def _runs(experiment: Experiment, dataset: str, method: Method, seed: int) -> Iterator[Job]:
    (shots,) = experiment.shots

    def folder(kind: str, method: Method) -> str:
        return f"base2new/{kind}/{dataset}/shots_{shots}/{method.trainer}/{method.folder}"

    tests: list[Job] = []
    training = None
    for half in ALONE:
        if training is not None and is_bound(method, experiment):  # which asks for the training alone
            return
        trains = method.trains and half == "base"
        kind = f"{'train' if trains else 'test'}_{half}"
        job = Job(
            method,
            dataset,
            half,
            seed,
            folder=f"{folder(kind, method)}/seed{seed}",
            parent=training,
            tests=not trains,
            options=(("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", half)),
            first=training.first if training else None,
            keeps=experiment.together,
        )
        stages = staged(job, partial(folder, kind)) if trains else [job]
        training = stages[-1] if trains else training
        yield from stages
        tests.append(stages[-1])
    if experiment.together:
        yield _test_all(tests, f"{folder('test_all', method)}/seed{seed}", shots)


def _test_all(tests: list[Job], folder: str, shots: int) -> Job:
    """All classes at test, on the image features that the tests of both halves have kept."""
    options = (("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", "all"), ("TEST.HALVES", "True"))
    return tests[-1]._replace(column=ALL, folder=folder, options=options, keeps=False, features=tuple(tests))


def is_bound(method: Method, experiment: Experiment) -> bool:
    """Whether what a method learns belongs to the classes of its training, so that no others can be tested."""
    if not method.trains:
        return False
    if method.behind is not None and is_bound(method.behind, experiment):
        return True
    shots = experiment.shots[:1] or (1,)
    one = experiment._replace(datasets=experiment.datasets[:1], methods=(method,), shots=shots, together=False)
    return binds(method.trainer, effective(next(job for job in base2new(one) if not job.searches)))
