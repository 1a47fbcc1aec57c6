"""What came of an experiment's runs, and of runs in other codebases' trees, as one set of numbers by method."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

from modprompt.errors import UserError
from modprompt.experiments.plan.base2new import ALL, ALONE, TOGETHER
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.kinds import GROUPS, group_of, trains
from modprompt.experiments.plan.protocols import columns, columns_of, wanted
from modprompt.experiments.reporting import trees
from modprompt.experiments.reporting.logs import read_run
from modprompt.experiments.running import state
from modprompt.runs import halves

UNTESTED = "no test images"


class Outcome(NamedTuple):
    """Accuracy of a run in percent, or None and the reason why there is none.

    result: what its result.json holds, where there is one.
    folder: the run's, of which more can be read; None where nobody knows it.
    """

    accuracy_pct: float | None
    reason: str = ""
    result: dict[str, Any] | None = None
    folder: Path | None = None


class Line(NamedTuple):
    """A method of the report.

    label: what tables call it.
    family: what variants of a grid share.
    seeds: those that every number of it must have.
    point: its place in a grid.
    published: its row in published.yaml.
    trains: whether it trains anything.
    acquisition: what chooses its labels in protocol active; see Method.
    columns: those that it is asked for; empty where Results knows.
    group: the heading under which it stands, where a report has several; empty for none.
    """

    label: str
    family: str
    seeds: tuple[int, ...]
    point: tuple[tuple[str, str], ...] = ()
    published: str = ""
    trains: bool = True
    acquisition: str = ""
    columns: tuple[str, ...] = ()
    group: str = ""

    @property
    def panel(self) -> str:
        """The method alone, whose acquisitions are drawn together."""
        return self.label.removesuffix(f" {self.acquisition}") if self.acquisition else self.label


class Results:
    """Outcomes by method, data set, column and seed.

    Args:
        lines: the methods, in order.
        columns: the columns that runs fill.
        datasets: in order; the source of the cross protocols stands first.

    `searches` has by family, data set and column of two-stage methods their trainings, and their searches' states.
    """

    def __init__(self, lines: Iterable[Line], columns: Sequence[str], datasets: Sequence[str]):
        self.lines, self.columns, self.datasets = list(lines), tuple(columns), tuple(datasets)
        self._outcomes: dict[tuple[str, str, str], dict[int, Outcome]] = {}
        self.searches: dict[tuple[str, str, str], tuple[list[Job], list[tuple[Job, state.State]]]] = {}
        self.fronts: dict[tuple[str, str, str], list[float | None]] = {}

    def in_groups(self) -> list[Line]:
        """The methods in the order of tables: by group if there are several groups, else as they came."""
        if not self.has_groups():
            return self.lines
        return sorted(self.lines, key=lambda line: GROUPS.index(line.group) if line.group in GROUPS else len(GROUPS))

    def has_groups(self) -> bool:
        """Whether methods are of several groups."""
        return len({line.group for line in self.lines} - {""}) > 1

    def add(self, label: str, dataset: str, column: str, seed: int, outcome: Outcome) -> None:
        """Enter a run's outcome."""
        self._outcomes.setdefault((label, dataset, column), {})[seed] = outcome

    def add_search(self, training: Job, search: tuple[Job, state.State]) -> None:
        """Enter how the search of a training stands; one that serves many trainings is entered once."""
        place = (training.method.family, training.dataset, training.column)
        trainings, searches = self.searches.setdefault(place, ([], []))
        trainings.append(training)
        if all(search[0].folder != job.folder for job, _ in searches):
            searches.append(search)

    def add_front(self, training: Job, front: state.State) -> None:
        """Enter the seconds of training the prompts that a head stands behind, in the order of its seeds."""
        place = (training.method.family, training.dataset, training.column)
        self.fronts.setdefault(place, []).append((front.result or {}).get("training_s"))

    def outcomes(self, line: Line, dataset: str, column: str) -> dict[int, Outcome]:
        """Outcomes by seed: one for each seed of the method."""
        found = self._outcomes.get((line.label, dataset, column), {})
        return {seed: found.get(seed, Outcome(None, "missing")) for seed in line.seeds}

    def is_asked(self, line: Line, column: str) -> bool:
        """Whether a method has a number in a column: 0 shots are for methods that train nothing, others are not."""
        if line.columns:
            return column in line.columns
        return not (column.isdigit() and (column == "0") == line.trains)

    def values(self, line: Line, dataset: str, column: str) -> list[float] | None:
        """Accuracies in percent of all seeds, or None if one is lacking."""
        numbers = [outcome.accuracy_pct for outcome in self.outcomes(line, dataset, column).values()]
        known = [number for number in numbers if number is not None]
        return known if known and len(known) == len(numbers) else None

    def all(self) -> Iterator[tuple[Line, str, str, int, Outcome]]:
        """(line, data set, column, seed, outcome) of every run that there should be."""
        for line in self.lines:
            for dataset in self.datasets:
                for column in self.columns:
                    if self.is_asked(line, column):
                        for seed, outcome in self.outcomes(line, dataset, column).items():
                            yield line, dataset, column, seed, outcome


def of_experiment(
    experiment: Experiment,
    states: Iterable[tuple[Job, state.State]],
    out: Path | None = None,
    marked: bool = False,
) -> Results:
    """The results of an experiment's runs; what is stale, failed or running has no number.

    Args:
        experiment: what was to be run.
        states: its runs and how they stand.
        out: the output folder, by which more is read of finished runs than their results.
        marked: whether results that were chosen beyond the project's rule count, too.
    """
    lines = [
        Line(
            method.label,
            method.family,
            method.seeds,
            method.point,
            method.published,
            method.trains,
            method.acquisition,
            columns_of(method, experiment),
            group_of(method.trainer, dict(method.options), method.behind is not None),
        )
        for method in experiment.lines
    ]
    datasets = (experiment.source,) * bool(experiment.source) + experiment.datasets
    results = Results(lines, columns(experiment), datasets)
    stood = {job.folder: (job, stands) for job, stands in states}
    for job in wanted(experiment) if stood else ():
        if job.searches or job.is_front or job.folder not in stood:
            continue
        _, stands = stood[job.folder]
        if job.first and job.first.searches and not job.tests:
            results.add_search(job, stood[job.first.folder])
        if job.first and job.first.is_front and not job.tests:
            results.add_front(job, stood[job.first.folder][1])
        if stands.name == state.FINISHED:
            why = UNTESTED if stands.accuracy_pct is None else ""
            outcome = Outcome(stands.accuracy_pct, why, stands.result, out / job.folder if out else None)
            mark = (stands.result or {}).get("marked")
            if mark and not marked:
                outcome = Outcome(None, f"{mark}: --marked shows it")
        else:
            outcome = Outcome(None, f"{stands.name}{f': {stands.why}' if stands.why else ''}")
        for column, one in _by_column(job, outcome):
            results.add(job.method.label, job.dataset, column, job.seed, one)
    return results


def _by_column(job: Job, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
    """A run's outcome in each column that it fills: two for a test of base and new classes together."""
    if job.column != ALL:
        yield job.column, outcome
        return
    result = outcome.result or {}
    found = result.get(halves.KEY) or {}
    for half, column in TOGETHER.items():
        accuracy = (found.get(half) or {}).get("accuracy_pct")
        why = outcome.reason or ("" if accuracy is not None else "its result has no accuracy of that half")
        yield column, outcome._replace(accuracy_pct=accuracy, reason=why)


def _outcome_of_log(folder: Path) -> Outcome:
    found = read_run(folder)
    return Outcome(found.accuracy_pct, found.reason)


def add_tree(results: Results, experiment: Experiment, root: Path, label: str) -> None:
    """Add the methods of another output tree, read from its log files.

    Args:
        results: what they are added to.
        experiment: whose protocol, shots and data sets they must have.
        root: the tree's output folder.
        label: stands behind the methods' names.

    Raises:
        UserError: if there is no such folder, or no run of that kind in it.
    """
    if not root.is_dir():
        raise UserError(f"--with: there is no folder {root}")
    runs = trees.discover(root, experiment.protocol, experiment.source)
    runs = [run for run in runs if run.dataset in results.datasets]
    if experiment.protocol != "few_shot":
        runs = [run for run in runs if run.shots in (*experiment.shots, 0)]
    if "0" not in results.columns and any(run.column == "0" for run in runs):
        results.columns = ("0", *results.columns)  # its zero-shot runs have a column of their own
    runs = [run for run in runs if run.column in results.columns]
    if not runs:
        raise UserError(f"--with: {root} has no {experiment.protocol} run of these data sets and shots")
    for (trainer, config), own in _by_method(runs).items():
        alone = sum(run_trainer == trainer for run_trainer, _ in _by_method(runs)) == 1
        name = f"{trainer} ({label})" if alone else f"{trainer} {config} ({label})"
        if name in {line.label for line in results.lines}:
            raise UserError(f"--with: there is a method {name!r} already; call the folders' runs LABEL=FOLDER")
        learns = trains(trainer)
        seeds = experiment.seeds if learns else tuple(sorted({run.seed for run in own}))
        fits = ALONE if experiment.together else ()  # logs say nothing of both together
        results.lines.append(Line(name, name, seeds, trains=learns, columns=fits, group=group_of(trainer, {})))
        for run in own:
            results.add(name, run.dataset, run.column, run.seed, _outcome_of_log(run.folder))


def _by_method(runs: Sequence[trees.Found]) -> dict[tuple[str, str], list[trees.Found]]:
    methods: dict[tuple[str, str], list[trees.Found]] = {}
    for run in runs:
        methods.setdefault((run.trainer, run.config), []).append(run)
    return methods


def experiment_of_tree(root: Path, protocol: str, seeds: tuple[int, ...], shots: tuple[int, ...]) -> Experiment:
    """An experiment without methods of its own: the data sets that a tree has, and seeds and shots unless given.

    Raises:
        UserError: if the tree has no run of the protocol.
    """
    runs = trees.discover(root, protocol)
    if not runs:
        raise UserError(f"no {protocol} run below {root}: expected folders of the family's scripts with log.txt files")
    datasets = sorted({run.dataset for run in runs})
    source = "imagenet" if protocol in CROSS else ""
    datasets = [name for name in datasets if name != source]
    found = tuple(sorted({run.shots for run in runs if run.shots})) or (16,)
    if protocol != "few_shot" and len(shots or found) > 1:
        raise UserError(f"{root} has runs of {', '.join(map(str, found))} shots: choose with --shots")
    return Experiment(
        name=root.name or "report",
        title=f"Results of {root.absolute().name}",
        protocol=protocol,
        datasets=tuple(datasets),
        source=source,
        shots=shots or found,
        seeds=seeds or tuple(sorted({run.seed for run in runs if trains(run.trainer)})) or (1,),
        methods=(),
        highlight="",
        notes="",
        slurm={},
    )
