"""The runs of each protocol, their folders, and the columns of a table that they fill.

base2new              trains on the base classes, and tests the base classes and the new classes separately (with
                      `joint_test` also together). A method that learns from images of all classes without labels has
                      one run for both tests.
cross_dataset         trains on all classes of a source data set, and tests other data sets
domain_generalisation trains on all classes of a source data set, and tests variants of the source
few_shot              trains and tests on all classes with 1, 2, 4, ... shots
active                trains in active-learning rounds, and has few-shot and zero-shot runs for comparison
validation            trains on the base classes (or all classes), and tests on all their validation images, in order to
                      select hyperparameters

A method without training has only tests. A two-stage method starts with its first stage, on the classes and shots of
its training. The folders are those of the scripts in scripts/, so that both share their runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from modprompt.data.rounds import Active
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import planned_settings
from modprompt.experiments.plan.experiment import (
    ACTIVE,
    BASE2NEW,
    CLASSES,
    CROSS,
    FEW_SHOT,
    FEW_SHOT_RUNS,
    PCB,
    TEST,
    TRAINING,
    VALIDATION,
    Experiment,
    Job,
    Method,
    Pairs,
    Rounds,
    has_pcb,
    without_pcb,
)
from modprompt.experiments.plan.first_stages import SEARCH, is_bound_to_classes, tests_apart
from modprompt.io.result import BY_CLASS

ACCURACY = "accuracy"  # the column of the protocols that have a single one
ALONE = ("base", "new")  # the columns of tests of one half of the classes
ALL = "all"  # the column of a test of all classes
APART = "apart"  # the column of a run that tests base classes and new classes separately
TOGETHER = {"base": "base (all)", "new": "new (all)"}  # the columns that a test of all classes fills, by half
_ANY_SHOTS = 16  # in the folders of zero-shot runs, which use no training images
_FolderOf = Callable[[Method], str]  # returns the folder of the runs of a method, without the seed


def _shots_and_classes(shots: int | str, classes: str) -> Pairs:
    """Return the settings for training images; 0 shots mean all images without labels, and -1 all with labels."""
    return ("DATASET.NUM_SHOTS", str(shots)), ("DATASET.SUBSAMPLE_CLASSES", classes)


def _shots_in_folder(shots: int | str, method: Method) -> str:
    """Return the number of shots in a folder name."""
    return str(BY_CLASS if shots and method.shots_file else shots).replace(" ", "_")


def _combinations(experiment: Experiment) -> Iterator[tuple[str, Method, int]]:
    """Yield each data set, method and seed."""
    for dataset in experiment.datasets:
        for method in experiment.methods:
            yield from ((dataset, method, seed) for seed in method.seeds)


def _first_stage(training: Job, folder_of: _FolderOf) -> Job | None:
    """Return the run of the first stage of a training, or None if the method has a single stage.

    Args:
        training: the training.
        folder_of: returns the folder of the trainings of a method, without the folder of the seed.
    """
    method = training.method
    if method.first_stage is None:
        return None
    seed = training.seed if method.first_stage_seed is None else method.first_stage_seed
    folder = f"{folder_of(method.first_stage)}/seed{seed}"
    options = training.options if training.first_stage_options is None else training.first_stage_options
    job = training._replace(method=method.first_stage, seed=seed, folder=folder, options=options, fills_column=False)
    return (
        job if method.earlier_method else job._replace(kind=SEARCH, folder=f"{SEARCH}/{folder}", keeps_features=False)
    )


def _training(job: Job, folder_of: _FolderOf) -> Job:
    """Return a training with its folder and its first stage."""
    job = job._replace(folder=f"{folder_of(job.method)}/seed{job.seed}")
    return job._replace(first_stage=_first_stage(job, folder_of))


def _test(job: Job, training: Job | None, folder: str) -> Job:
    """Return a run that tests the model of a training, or a method without training.

    Args:
        job: the data set, column, seed and options of the test.
        training: the run that trains the tested model, or None.
        folder: the folder of the test without the folder of the seed.
    """
    first_stage = training.first_stage if training else None
    job = job._replace(kind=TEST, training=training, first_stage=first_stage, first_stage_options=None)
    return job._replace(folder=f"{folder}/seed{job.seed}")


def _in_order(training: Job | None, tests: Iterable[Job]) -> Iterator[Job]:
    """Yield the first stage of a training, the training, and the tests of its model."""
    if training is not None and training.first_stage is not None:
        yield training.first_stage
    yield from ([training] if training is not None else [])
    yield from tests


def is_bound(method: Method, experiment: Experiment) -> bool:
    """Return True if the trained parameters belong to the training classes, so that no other classes can be tested."""
    if method.earlier_method is not None and is_bound(method.earlier_method, experiment):
        return True
    job = Job(method, experiment.datasets[0], "base", 1)
    return method.trains and is_bound_to_classes(method.trainer, planned_settings(job))


def _base2new_folder(name: str, dataset: str, shots: int | str, method: Method) -> str:
    return f"base2new/{name}/{dataset}/shots_{_shots_in_folder(shots, method)}/{method.trainer}/{method.folder}"


def _apart(dataset: str, shots: int | str, method: Method, seed: int) -> Job:
    """Return the training on images of all classes without labels, which tests base and new classes separately."""

    def folder_of(other: Method) -> str:
        if other is not method:  # a teacher, which is trained on the base classes
            return _base2new_folder("train_base", dataset, shots, other)
        of_teacher = f"_of_{_shots_in_folder(shots, other)}shots" if other.earlier_method else ""
        return _base2new_folder("train_base", dataset, 0, other) + of_teacher

    options, of_teacher = _shots_and_classes(0, "all"), _shots_and_classes(shots, "base")
    return _training(Job(method, dataset, APART, seed, options=options, first_stage_options=of_teacher), folder_of)


def _base2new(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots
    for dataset, method, seed in _combinations(experiment):
        if tests_apart(method.trainer):
            yield from _in_order(_apart(dataset, shots, method, seed), [])
            continue
        base, new = (
            Job(method, dataset, half, seed, options=_shots_and_classes(shots, half))._replace(
                keeps_features=experiment.joint_test
            )
            for half in ALONE
        )
        training, tests = None, list[Job]()
        if method.trains:
            training = base = _training(base, partial(_base2new_folder, "train_base", dataset, shots))
        else:
            base = _test(base, None, _base2new_folder("test_base", dataset, shots, method))
            tests.append(base)
        if not is_bound(method, experiment):
            new = _test(new, training, _base2new_folder("test_new", dataset, shots, method))
            tests.append(new)
            if experiment.joint_test:
                options = (*_shots_and_classes(shots, "all"), ("TEST.BASE_NEW", "True"))
                joint = new._replace(column=ALL, options=options, keeps_features=False, feature_tests=(base, new))
                tests.append(_test(joint, training, _base2new_folder("test_all", dataset, shots, method)))
        yield from _in_order(training, tests)


def _cross_datasets(experiment: Experiment) -> Iterator[Job]:
    (shots,) = experiment.shots

    def folder_of(top: str, method: Method) -> str:
        return f"crossdataset/{top}/{method.trainer}/{method.folder}_{_shots_in_folder(shots, method)}shots"

    for method in experiment.methods:
        for seed in method.seeds:
            training, tested = None, [experiment.source, *experiment.datasets]
            if method.trains:
                job = Job(method, experiment.source, ACCURACY, seed, options=(("DATASET.NUM_SHOTS", str(shots)),))
                training = _training(job, partial(folder_of, experiment.source))
                tested.remove(experiment.source)
            tests = [
                _test(Job(method, dataset, ACCURACY, seed), training, folder_of(f"evaluation/{dataset}", method))
                for dataset in tested
            ]
            yield from _in_order(training, tests)


def _few_shot(experiment: Experiment) -> Iterator[Job]:
    def folder_of(dataset: str, shots: int | str, method: Method) -> str:
        return f"{dataset}/{method.trainer}/eval/{method.folder}_{_shots_in_folder(shots, method)}shots"

    for dataset, method, seed in _combinations(experiment):
        for shots in _few_shot_numbers(method, experiment):
            job, of_dataset = Job(method, dataset, str(shots), seed), partial(folder_of, dataset, shots)
            if method.trains:
                job = job._replace(options=(("DATASET.NUM_SHOTS", str(shots)),))
                yield from _in_order(_training(job, of_dataset), [])
            else:
                yield _test(job, None, of_dataset(method))


def _few_shot_numbers(method: Method, experiment: Experiment) -> tuple[int | str, ...]:
    """Return the numbers of shots of a method in protocol few_shot."""
    if not method.trains:
        return (0,)
    return (BY_CLASS,) if method.shots_file else experiment.shots


def _validation(experiment: Experiment) -> Iterator[Job]:
    (shots,), classes = experiment.shots, experiment.classes
    on_validation = ("TEST.SPLIT", "val")
    top = "validation" if classes == CLASSES[0] else f"validation/{classes}"

    def folder_of(dataset: str, method: Method) -> str:
        return f"{top}/train/{dataset}/shots_{_shots_in_folder(shots, method)}/{method.trainer}/{method.folder}"

    for dataset, method, seed in _combinations(experiment):
        training = None
        if method.trains:
            few_shot = (*_shots_and_classes(shots, classes), on_validation)
            options = (*_shots_and_classes(0, "all"), on_validation) if tests_apart(method.trainer) else few_shot
            job = Job(method, dataset, TRAINING, seed, options=options, first_stage_options=few_shot)
            training = _training(job, partial(folder_of, dataset))
        trained_on = _shots_in_folder(shots, method)
        folder = f"{top}/test/{dataset}/{method.trainer}/{method.folder}_trained_on_{trained_on}"
        test = Job(method, dataset, VALIDATION, seed, options=(*_shots_and_classes(-1, classes), on_validation))
        yield from _in_order(training, [_test(test, training, folder)])


# ---------------------------------------------------------------------- active learning


def new_column(column: str) -> str:
    """Return the column with the accuracy on new classes that belongs to a column with a number of shots."""
    return f"{column} new"


def reported_methods(experiment: Experiment) -> list[Method]:
    """Return the methods that have a row in a report.

    In protocol active, a method has a row for each acquisition function and a row for its few-shot runs.
    """
    if experiment.rounds is None:
        return list(experiment.methods)
    methods = []
    for method in experiment.methods:
        few_shot = _without_rounds(method)
        if method.trains:
            methods += [_with_acquisition(method, name) for name in experiment.rounds.acquisitions]
            methods += [_with_acquisition(few_shot, FEW_SHOT_RUNS)] * experiment.rounds.few_shot
        else:
            methods.append(few_shot)
    return methods


def _with_acquisition(method: Method, acquisition: str) -> Method:
    return method._replace(label=f"{method.label} {acquisition}", acquisition=acquisition, published="")


def _without_rounds(method: Method) -> Method:
    """Return the method of the few-shot runs, without the settings of active learning."""
    few_shot = method.few_shot or method
    options = tuple((key, text) for key, text in few_shot.options if not key.startswith(f"{Active.node}."))
    same = {name: getattr(method, name) for name in ("label", "seeds", "grid_point", "image_cache")}
    return few_shot._replace(**same, options=options, few_shot=None)


def _active(experiment: Experiment) -> Iterator[Job]:
    rounds = experiment.rounds
    assert rounds is not None  # protocol active has rounds
    for dataset in experiment.datasets:
        for method in reported_methods(experiment):
            if method.acquisition in ("", FEW_SHOT_RUNS):
                yield from _compared_with_rounds(experiment._replace(datasets=(dataset,), methods=(method,)), rounds)
                continue
            folder = _active_folder(rounds, dataset, method)
            job = Job(method, dataset, ACCURACY, 0, options=_active_settings(rounds, method.acquisition))
            yield from (job._replace(seed=seed, folder=f"{folder}/seed{seed}") for seed in method.seeds)


def _active_folder(rounds: Rounds, dataset: str, method: Method) -> str:
    """Return the folder of the runs of a method with an acquisition function; it states all that affects results."""
    budget = f"_{rounds.budget}labels" if rounds.budget else ""
    gamma = f"_gamma{rounds.gamma:g}" if has_pcb(method.acquisition) else ""
    top = f"active/{'base2new/' if rounds.base2new else ''}{dataset}/{method.trainer}"
    return f"{top}/{method.folder}_{rounds.number}rounds{budget}{gamma}/{method.acquisition}"


def _active_settings(rounds: Rounds, acquisition: str) -> Pairs:
    settings = {"DATASET.NUM_SHOTS": "-1"}
    if rounds.base2new:
        settings["DATASET.SUBSAMPLE_CLASSES"] = "base"
    settings |= {"ACTIVE.METHOD": without_pcb(acquisition), "ACTIVE.PCB": str(acquisition.endswith(PCB))}
    settings |= {"ACTIVE.ROUNDS": str(rounds.number), "ACTIVE.BUDGET": str(rounds.budget)}
    if has_pcb(acquisition):  # gamma has no effect without PCB
        settings["ACTIVE.GAMMA"] = repr(rounds.gamma)
    return tuple(settings.items())


def _compared_with_rounds(experiment: Experiment, rounds: Rounds) -> Iterator[Job]:
    """Yield the few-shot or zero-shot runs of an experiment with one method and one data set."""
    if not rounds.base2new:
        yield from _few_shot(experiment)
        return
    trains = experiment.methods[0].trains
    for shots in experiment.shots if trains else (_ANY_SHOTS,):
        column = str(shots if trains else 0)
        for job in _base2new(experiment._replace(shots=(shots,))):
            yield job._replace(column=column if job.column == "base" else new_column(column))


def _active_columns(method: Method, experiment: Experiment, rounds: Rounds) -> tuple[str, ...]:
    """Return the columns of a method; the result of a run with rounds has all of its accuracies in one column."""
    if method.acquisition not in ("", FEW_SHOT_RUNS):
        return (ACCURACY,)
    shots = list(map(str, experiment.shots)) if method.trains else ["0"]
    tests_new = rounds.base2new and not is_bound(method, experiment)
    return (*shots, *(map(new_column, shots) if tests_new else ()))


# ---------------------------------------------------------------------- all protocols


def wanted(experiment: Experiment) -> Iterator[Job]:
    """Yield all runs of an experiment; a run that several methods share comes several times."""
    protocols: dict[str, Callable[[Experiment], Iterator[Job]]] = {
        BASE2NEW: _base2new, FEW_SHOT: _few_shot, ACTIVE: _active, VALIDATION: _validation,
    }  # fmt: skip
    jobs, figure = protocols.get(experiment.protocol, _cross_datasets)(experiment), experiment.feature_map
    for job in jobs:
        shows_features = figure is not None and figure.shows(job)
        yield job._replace(keeps_features=True) if shows_features else job


def jobs(*experiments: Experiment) -> list[Job]:
    """Return all runs of some experiments, each once, after its first stage and its training.

    Raises:
        UserError: if two different runs would have the same folder.
    """
    by_folder: dict[str, Job] = {}
    for experiment in experiments:
        for job in wanted(experiment):
            known = by_folder.setdefault(job.folder, job)  # a first stage may serve several seeds and methods
            if known is not job and _identity(known) != _identity(job):
                raise UserError(
                    f"{experiment.name}: the runs {job.title} and {known.title} would use the same folder, "
                    f"{job.folder}. Move one of the methods to another experiment file, and use a different --out for "
                    "that file."
                )
            if job.keeps_features and not known.keeps_features:
                by_folder[job.folder] = known._replace(keeps_features=True)
    return list(by_folder.values())


def _identity(job: Job) -> tuple[dict[str, str], str]:
    """Return the settings of a run and the folder of its first stage."""
    return planned_settings(job), job.first_stage.folder if job.first_stage else ""


def columns(experiment: Experiment) -> tuple[str, ...]:
    """Return the columns that the runs of an experiment fill for each data set."""
    if experiment.protocol == BASE2NEW:
        return (*ALONE, *(TOGETHER.values() if experiment.joint_test else ()))
    if experiment.protocol in CROSS:
        return (ACCURACY,)
    if experiment.protocol == VALIDATION:
        return (VALIDATION,)
    if experiment.protocol == ACTIVE:
        methods = reported_methods(experiment)
        return tuple(dict.fromkeys(name for method in methods for name in columns_of(method, experiment)))
    numbers = [number for method in experiment.methods for number in _few_shot_numbers(method, experiment)]
    zero, by_class = (0,) * (0 in numbers), (BY_CLASS,) * (BY_CLASS in numbers)
    return tuple(dict.fromkeys(map(str, (*zero, *experiment.shots, *by_class))))


def columns_of(method: Method, experiment: Experiment) -> tuple[str, ...]:
    """Return the columns that a method fills, if they differ from those of other methods; else ()."""
    if experiment.rounds is not None:
        return _active_columns(method, experiment, experiment.rounds)
    if experiment.protocol == FEW_SHOT and any(other.shots_file for other in experiment.methods):
        return tuple(map(str, _few_shot_numbers(method, experiment)))
    if experiment.protocol != BASE2NEW:
        return ()
    if tests_apart(method.trainer):
        return ALONE
    return ALONE[:1] if is_bound(method, experiment) else ()
