"""Which runs a protocol is made of, in the family's folders, and which columns of a table they fill.

base2new              train on the base classes and test on them; test on the new classes; with `together` on all. A
                      method with a teacher is trained on images of all classes, and one run tests both
cross_dataset         train on all classes of a source, test on other data sets
domain_generalisation the same, tested on variants of the source
few_shot              train and test on all classes with 1, 2, 4, ... shots
validation            train on the base classes (or all, by `classes`), measure on all their validation images: for
                      choosing settings

The protocol of active learning is planned in rounds.py.

A method that trains nothing is tested alone. A two-stage method begins with its first stage, on the classes and
shots of its training. The folders are those of the scripts, which share their runs with us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from modprompt.errors import UserError
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, VALIDATION, Experiment, Job, Method, Pairs
from modprompt.experiments.plan.stages import binds, tests_apart
from modprompt.io.images import BY_CLASS

ALONE = ("base", "new")  # the columns that runs on one half of the classes fill
ALL = "all"  # of a run that tests all classes
APART = "apart"  # of one that trains on all images without labels, and tests base and new classes each among their own
TOGETHER = {"base": "base (all)", "new": "new (all)"}  # the columns that it fills, by half of the test images
ANY_SHOTS = 16  # in the folders of zero-shot runs of base2new, which use no training image
_Run = tuple[Job, Callable[[Method], str]]  # and what gives the folder of a method's such runs, without the seed


def _sees(shots: int | str, classes: str) -> Pairs:
    """The options for training images of each class, 0 for all without labels, and classes."""
    return ("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", classes)


def _in_folder(shots: int | str, method: Method) -> str:
    """A method's shots in the names of folders."""
    return str(BY_CLASS if shots and method.shots_file else shots).replace(" ", "_")


def _of_all(experiment: Experiment) -> Iterator[tuple[str, Method, int]]:
    for dataset in experiment.datasets:
        yield from ((dataset, method, seed) for method in experiment.methods for seed in method.seeds)


def first_of(training: Job, folder: Callable[[Method], str]) -> Job | None:
    """The first stage of a training, if its method has one; `folder` gives that of a method's trainings, no seed."""
    method, stage = training.method, training.method.stage
    if stage is None:
        return None
    seed = training.seed if method.stage_seed is None else method.stage_seed
    options = training.options if training.of_first is None else training.of_first
    place = f"{folder(stage)}/seed{seed}"
    first = training._replace(method=stage, seed=seed, folder=place, options=options, is_front=True)
    if method.front is not None:
        return first
    name = method.stage_of
    return first._replace(folder=f"{name}/{place}", stage=name, keeps=False, is_front=False)


def in_order(wanted: Iterable[_Run]) -> Iterator[Job]:
    """A training after its first stage, and the tests of what it has trained."""
    training = None
    for job, folder in wanted:
        job = job._replace(folder=f"{folder(job.method)}/seed{job.seed}")
        if training is not None:
            job = job._replace(parent=training, first=training.first)
        elif not job.tests:
            job = training = job._replace(first=first_of(job, folder))
            if job.first is not None:
                yield job.first
        yield job


def _of_base2new(kind: str, dataset: str, shots: int | str, method: Method) -> str:
    """The folder of a method's runs of a kind, without the seed."""
    return f"base2new/{kind}/{dataset}/shots_{_in_folder(shots, method)}/{method.trainer}/{method.folder}"


def _halves(experiment: Experiment, dataset: str, method: Method, seed: int) -> Iterator[_Run]:
    """A method's runs on a data set: one for each half, or one for both that are tested apart."""
    (shots,) = experiment.shots
    if tests_apart(method.trainer):

        def folder(one: Method) -> str:  # a teacher's is that of its own training on the base classes
            if one is not method:
                return _of_base2new("train_base", dataset, shots, one)
            taught = "" if one.front is None else f"_of_{_in_folder(shots, one)}shots"
            return f"{_of_base2new('train_base', dataset, 0, one)}{taught}"

        yield Job(method, dataset, APART, seed, options=_sees(0, "all"), of_first=_sees(shots, "base")), folder
        return
    for half in ALONE:
        if half != "base" and is_bound(method, experiment):
            return
        tests = not method.trains or half != "base"
        job = Job(method, dataset, half, seed, tests=tests, options=_sees(shots, half), keeps=experiment.together)
        yield job, partial(_of_base2new, f"{'test' if tests else 'train'}_{half}", dataset, shots)


def base2new(experiment: Experiment) -> Iterator[Job]:
    """Trained and tested on the base classes, tested on the new ones, and on both together, on the image features that
    both tests have kept; a method that is bound to the classes of its training has only the first."""
    (shots,) = experiment.shots
    for dataset, method, seed in _of_all(experiment):
        jobs = list(in_order(_halves(experiment, dataset, method, seed)))
        yield from jobs
        tests = tuple(job for job in jobs if not (job.stage or job.is_front))
        if experiment.together and len(tests) == len(ALONE):
            folder = f"{_of_base2new('test_all', dataset, shots, method)}/seed{seed}"
            options = (*_sees(shots, "all"), ("TEST.BASE_NEW", "True"))
            yield tests[-1]._replace(column=ALL, folder=folder, options=options, keeps=False, features=tests)


def is_bound(method: Method, experiment: Experiment) -> bool:
    """Whether what a method learns belongs to the classes of its training, so that no others can be tested."""
    if method.front is not None and is_bound(method.front, experiment):
        return True
    return method.trains and binds(method.trainer, effective(Job(method, experiment.datasets[0], "base", 1)))


def _cross(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots

    def folder(place: str, method: Method) -> str:
        return f"crossdataset/{place}/{method.trainer}/{method.folder}_{_in_folder(shots, method)}shots"

    def places(method: Method, seed: int) -> Iterator[_Run]:
        for dataset in (experiment.source, *experiment.datasets):
            tests = not method.trains or dataset != experiment.source
            options = () if tests else (("DATASET.NUM_SHOTS", str(shots)),)
            job = Job(method, dataset, "accuracy", seed, tests=tests, options=options)
            yield job, partial(folder, f"evaluation/{dataset}" if tests else dataset)

    for method in experiment.methods:
        for seed in method.seeds:
            yield from in_order(places(method, seed))


def few_shot(experiment: Experiment) -> Iterator[Job]:
    """Trained and tested on all classes, with each number of shots."""

    def folder(dataset: str, shots: int | str, method: Method) -> str:
        return f"{dataset}/{method.trainer}/eval/{method.folder}_{_in_folder(shots, method)}shots"

    for dataset, method, seed in _of_all(experiment):
        for shots in _shots_of(method, experiment):
            options = (("DATASET.NUM_SHOTS", str(shots)),) if method.trains else ()
            job = Job(method, dataset, str(shots), seed, tests=not method.trains, options=options)
            yield from in_order([(job, partial(folder, dataset, shots))])


def _shots_of(method: Method, experiment: Experiment) -> tuple[int | str, ...]:
    """A method's numbers of shots of protocol few_shot."""
    if not method.trains:
        return (0,)
    return (BY_CLASS,) if method.shots_file else experiment.shots


def _validation(experiment: Experiment) -> Iterator[Job]:
    """Trainings and tests that see the labels of the base classes alone, or of all, and no test image."""
    (shots,) = experiment.shots
    of_validation = ("TEST.SPLIT", "val")
    top = "validation" if experiment.classes == "base" else f"validation/{experiment.classes}"

    def trained(dataset: str, method: Method) -> str:
        return f"{top}/train/{dataset}/shots_{_in_folder(shots, method)}/{method.trainer}/{method.folder}"

    def tested(dataset: str, method: Method) -> str:
        return f"{top}/test/{dataset}/{method.trainer}/{method.folder}_trained_on_{_in_folder(shots, method)}"

    for dataset, method, seed in _of_all(experiment):
        kept = (*_sees(-1, experiment.classes), of_validation)  # all validation images
        test = Job(method, dataset, VALIDATION, seed, tests=True, options=kept)
        few = (*_sees(shots, experiment.classes), of_validation)
        options = (*_sees(0, "all"), of_validation) if tests_apart(method.trainer) else few
        training = test._replace(column="training", tests=False, options=options, of_first=few)
        stages = [(training, partial(trained, dataset))] * method.trains
        yield from in_order([*stages, (test, partial(tested, dataset))])


def wanted(experiment: Experiment) -> Iterator[Job]:
    """All runs that an experiment's numbers come from; one that several methods share comes several times."""
    if experiment.added is not None:
        return experiment.added.jobs(experiment)
    of_protocol = {BASE2NEW: base2new, "few_shot": few_shot, VALIDATION: _validation}
    found, shown = of_protocol.get(experiment.protocol, _cross)(experiment), experiment.feature_map
    return found if shown is None else (job._replace(keeps=job.keeps or shown.shows(job)) for job in found)


def jobs(*experiments: Experiment) -> list[Job]:
    """All runs of some experiments, each once, after the first stage and the training it needs.

    Raises:
        UserError: if two runs would share a folder.
    """
    once: dict[str, Job] = {}
    for experiment in experiments:
        for job in wanted(experiment):
            first = once.setdefault(job.folder, job)  # a first stage may serve many seeds and methods
            if first is not job and _of_run(first) != _of_run(job):
                raise UserError(
                    f"{experiment.name}: the runs {job.title} and {first.title} would use the same folder, "
                    f"{job.folder}. Move one of the methods to another experiment file, and use a different --out for "
                    "that file."
                )
            if job.keeps and not first.keeps:
                once[job.folder] = first._replace(keeps=True)
    return list(once.values())


def _of_run(job: Job) -> tuple[dict[str, str], str]:
    """What tells one run from another: its settings, and the folder of its first stage."""
    return effective(job), job.first.folder if job.first else ""


def columns(experiment: Experiment) -> tuple[str, ...]:
    """The columns that runs fill, for each data set."""
    if experiment.protocol == BASE2NEW:
        return (*ALONE, *(TOGETHER.values() if experiment.together else ()))
    if experiment.protocol in CROSS:
        return ("accuracy",)
    if experiment.protocol == VALIDATION:
        return (VALIDATION,)
    if experiment.added is not None:
        return tuple(dict.fromkeys(name for method in experiment.lines for name in columns_of(method, experiment)))
    zero = () if all(method.trains for method in experiment.methods) else ("0",)
    unequal = (BY_CLASS,) * any(method.shots_file and method.trains for method in experiment.methods)
    return tuple(dict.fromkeys((*zero, *map(str, experiment.shots), *unequal)))


def columns_of(method: Method, experiment: Experiment) -> tuple[str, ...]:
    """The columns that a line's runs fill, if rounds decide it or not all can be filled; else empty."""
    if experiment.added is not None:
        return experiment.added.columns_of(method, experiment)
    if experiment.protocol == "few_shot" and any(one.shots_file for one in experiment.methods):
        return tuple(map(str, _shots_of(method, experiment)))
    if experiment.protocol != BASE2NEW:
        return ()
    if tests_apart(method.trainer):
        return ALONE
    return ALONE[:1] if is_bound(method, experiment) else ()
