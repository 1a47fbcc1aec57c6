"""Results of an experiment's runs, and of runs in other codebases' trees, as one set of numbers by method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.experiments.plan.protocols import ALL, ALONE, APART, TOGETHER, columns, columns_of, wanted
from modprompt.experiments.plan.stages import GROUPS, group_of
from modprompt.experiments.reporting import alike
from modprompt.experiments.running import state
from modprompt.io import base_new
from modprompt.io.images import mark_of

if TYPE_CHECKING:
    import pandas as pd

UNTESTED = "no test images"
ALL_IMAGES = "all"  # the column of trainings on all images, in place of shots, which other trees have


def most_shots(columns: Sequence[str]) -> str:
    """The column of the most shots; empty if there is none."""
    return max((column for column in columns if column.isdigit()), key=int, default="")


def shots_in_words(column: str) -> str:
    """A column of shots, with its unit."""
    return f"{column} shot{'s' * (column != '1')}"


class Outcome(NamedTuple):
    """Accuracy of a run in percent, or None and the reason why there is none.

    result: what its result.json holds, where there is one.
    folder: the run's, from which more can be read; None if it is not known.
    front: the result of its first stage, where that is another method of the experiment.
    doubt: what speaks against the number, or must be known about it.
    notes: what it says, besides its settings, about the trainings on its data set that it comes from.
    """

    accuracy_pct: float | None
    reason: str = ""
    result: dict[str, Any] | None = None
    folder: Path | None = None
    front: dict[str, Any] | None = None
    doubt: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether the run has ended and counts, be it without test images."""
        return self.accuracy_pct is not None or self.reason == UNTESTED


class Line(NamedTuple):
    """A method of the report.

    label: its name in tables.
    family: what variants of a grid share.
    seeds: those that every number of it must have.
    point: its place in a grid.
    published: its row in published.yaml.
    trains: whether it trains anything.
    under: the variant of a feature's protocol that it runs under; see Method.
    columns: those that it has numbers in; empty if Results knows.
    group: its heading, in a report with several; empty for none.
    apart: why its numbers cannot be compared with those of the others; else empty.
    """

    label: str
    family: str
    seeds: tuple[int, ...]
    point: tuple[tuple[str, str], ...] = ()
    published: str = ""
    trains: bool = True
    under: str = ""
    columns: tuple[str, ...] = ()
    group: str = ""
    apart: str = ""

    @property
    def panel(self) -> str:
        """The method alone, whose lines are drawn together."""
        return self.label.removesuffix(f" {self.under}") if self.under else self.label


class Results:
    """Outcomes by method, data set, column and seed.

    Args:
        lines: the methods, in order.
        columns: the columns that runs fill.
        datasets: in order; the source of the cross protocols comes first.

    `stages` has by family, data set and column of two-stage methods their trainings, and their first stages' states;
    `odd` the data sets with images that the two rules read differently.
    """

    def __init__(self, lines: Iterable[Line], columns: Sequence[str], datasets: Sequence[str]):
        self.lines, self.columns, self.datasets = list(lines), tuple(columns), tuple(datasets)
        self._outcomes: dict[tuple[str, str, str], dict[int, Outcome]] = {}
        self._parted: dict[tuple[str, ...], alike.Parted] = {}
        self.odd: set[str] = set()
        self.stages: dict[tuple[str, str, str], tuple[list[Job], list[tuple[Job, state.State]]]] = {}

    def in_groups(self) -> list[Line]:
        """The methods in the order of tables: by group if there are several groups, else as they came."""
        if not self.has_groups():
            return self.lines
        return sorted(self.lines, key=lambda line: GROUPS.index(line.group) if line.group in GROUPS else len(GROUPS))

    def has_groups(self) -> bool:
        """Whether methods belong to several groups."""
        return len({line.group for line in self.lines} - {""}) > 1

    def add(self, label: str, dataset: str, column: str, seed: int, outcome: Outcome) -> None:
        """Add a run's outcome."""
        self._outcomes.setdefault((label, dataset, column), {})[seed] = outcome
        self._parted.clear()
        self.odd |= {dataset} if alike.has_odd_images(outcome.result) else set()

    def add_stage(self, training: Job, stage: tuple[Job, state.State]) -> None:
        """Add the state of a training's first stage; one that serves many trainings is added once."""
        place = (training.method.family, training.dataset, training.column)
        trainings, stages = self.stages.setdefault(place, ([], []))
        trainings.append(training)
        if all(stage[0].folder != job.folder for job, _ in stages):
            stages.append(stage)

    def outcomes(self, line: Line, dataset: str, column: str) -> dict[int, Outcome]:
        """Outcomes by seed: one for each seed of the method."""
        found = self._outcomes.get((line.label, dataset, column), {})
        return {seed: found.get(seed, Outcome(None, "missing")) for seed in line.seeds}

    def is_asked(self, line: Line, column: str) -> bool:
        """Whether a method has a number in a column: 0 shots are for methods that train nothing, others are not; all
        images are for those that say so."""
        if line.columns or column == ALL_IMAGES:
            return column in line.columns
        return not (column.isdigit() and (column == "0") == line.trains)

    def parted(self, line: Line, datasets: Sequence[str]) -> alike.Parted:
        """In what a method's runs on some data sets differ that cannot be averaged; empty if they can."""
        place = (line.label, *datasets)
        if place not in self._parted:
            runs = (
                (dataset, dataset if len(datasets) > 1 else f"{column} seed {seed}", outcome.result)
                for _, dataset, column, seed, outcome in self.all(line, datasets)
                if outcome.result
            )
            self._parted[place] = alike.parted(runs, self.odd)
        return self._parted[place]

    def runs(self, line: Line, dataset: str, column: str) -> list[Outcome] | None:
        """The runs that every mean, sum and picture of them is over: those of all seeds, or None if there is no mean:
        one is missing, or they differ in what must be equal."""
        outcomes = list(self.outcomes(line, dataset, column).values())
        is_whole = outcomes and all(one.is_there for one in outcomes)
        return outcomes if is_whole and not self.parted(line, [dataset]) else None

    def long_table(self) -> pd.DataFrame:
        """A row for each run that there should be: method, dataset, column, seed, and its accuracy in percent, which is
        nan where there is none or the method's runs on the data set differ in what must be equal."""
        import pandas as pd  # late: few commands need it

        rows = [
            (line.label, dataset, column, seed, None if self.parted(line, [dataset]) else outcome.accuracy_pct)
            for line, dataset, column, seed, outcome in self.all()
        ]
        table = pd.DataFrame(rows, columns=["method", "dataset", "column", "seed", "accuracy_pct"])
        return table.astype({"accuracy_pct": float})

    def said(self, line: Line, datasets: Sequence[str], seeds: Sequence[int]) -> str:
        """Remarks on a method's numbers: its own seeds, and what it was chosen by.

        Args:
            line: the method.
            datasets: those of the numbers.
            seeds: the report's; a method that trains nothing has one run whatever they are.
        """
        own = f"seed{'s' * (len(line.seeds) > 1)} {', '.join(map(str, line.seeds))}"
        texts = [own] if line.trains and line.seeds != tuple(seeds) else []
        known = [one.result for *_, one in self.all(line, datasets) if one.result]
        marks = sorted({mark for one in known for mark in (mark_of(one), str(one.get(base_new.SEEN) or ""))} - {""})
        mixed = alike.in_words(self.parted(line, datasets), whole=False)
        return "; ".join(filter(None, [*texts, *marks, line.apart, mixed]))

    def all(
        self, of: Line | None = None, datasets: Sequence[str] | None = None
    ) -> Iterator[tuple[Line, str, str, int, Outcome]]:
        """(line, data set, column, seed, outcome) of every run that there should be; of one method, on some data sets,
        where they are given."""
        for line in self.lines if of is None else [of]:
            for dataset in self.datasets if datasets is None else datasets:
                for column in filter(partial(self.is_asked, line), self.columns):
                    for seed, outcome in self.outcomes(line, dataset, column).items():
                        yield line, dataset, column, seed, outcome


def of_experiment(
    experiment: Experiment,
    states: Iterable[tuple[Job, state.State]],
    out: Path | None = None,
    selected_on_test: bool = False,
) -> Results:
    """The results of an experiment's runs; what is stale, failed or running has no number.

    Args:
        experiment: what was to be run.
        states: its runs and their states.
        out: the output folder, from which more than the results of finished runs is read.
        selected_on_test: whether results that were chosen against the project's rule also count.
    """
    lines = [
        Line(
            method.label,
            method.family,
            method.seeds,
            method.point,
            method.published,
            method.trains,
            method.under,
            columns_of(method, experiment),
            group_of(method.trainer, dict(method.options), method.front is not None),
        )
        for method in experiment.lines
    ]
    datasets = (experiment.source,) * bool(experiment.source) + experiment.datasets
    results = Results(lines, columns(experiment), datasets)
    stood = {job.folder: (job, stands) for job, stands in states}
    for job in wanted(experiment) if stood else ():
        if job.stage or job.is_front or job.folder not in stood:
            continue
        _, stands = stood[job.folder]
        if job.first and job.first.stage and not job.tests:
            results.add_stage(job, stood[job.first.folder])
        front = stood[job.first.folder][1].result if job.first and job.first.is_front else None
        if stands.name == state.FINISHED:
            why = UNTESTED if stands.accuracy_pct is None else ""
            folder = out / job.folder if out else None
            outcome = Outcome(stands.accuracy_pct, why, stands.result, folder, front, notes=_notes(job, stood))
            mark = mark_of(stands.result or {})
            if mark and not selected_on_test:
                outcome = Outcome(None, f"{mark}: --selected-on-test shows it")
        else:
            outcome = Outcome(None, f"{stands.name}{f': {stands.why}' if stands.why else ''}")
        for column, one in _by_column(job, outcome):
            results.add(job.method.label, job.dataset, column, job.seed, one)
    return results


def _notes(job: Job, stood: Mapping[str, tuple[Job, state.State]]) -> tuple[str, ...]:
    """What a run and its earlier stages say about their training on its data set, each once."""
    stages = [one for one in (job, job.parent, job.first) if one is not None and one.dataset == job.dataset]
    known = [stood[one.folder][1].result or {} for one in stages if one.folder in stood]
    return tuple(dict.fromkeys(note for result in known for note in result.get("notes") or ()))


def _by_column(job: Job, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
    """A run's outcome in each column that it fills: two for a test of base and new classes, together or apart."""
    columns = {ALL: TOGETHER, APART: dict(zip(ALONE, ALONE))}.get(job.column)
    if columns is None:
        yield job.column, outcome
        return
    result = outcome.result or {}
    found = result.get(base_new.KEY if job.column == ALL else base_new.APART) or {}
    for half, column in columns.items():
        accuracy = (found.get(half) or {}).get("accuracy_pct")
        why = outcome.reason or ("" if accuracy is not None else "its result has no accuracy of that half")
        yield column, outcome._replace(accuracy_pct=accuracy, reason=why)


def untested(results: Results) -> list[str]:
    """A line for each method and data set whose finished runs have no accuracy, for lack of test images."""
    found: dict[str, list[str]] = {}
    for line, dataset, _, seed, outcome in results.all():
        if outcome.reason == UNTESTED:
            found.setdefault(f"{line.label}, {dataset}", []).append(str(seed))
    return [f"{what}: seed {', '.join(seeds)}: {UNTESTED}" for what, seeds in found.items()]
