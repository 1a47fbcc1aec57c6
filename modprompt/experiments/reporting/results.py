"""Results of an experiment's runs, and of runs in other codebases' trees, as one set of numbers by method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.experiments.plan.protocols import ALL, ALONE, APART, TOGETHER, columns, columns_of, wanted
from modprompt.experiments.plan.stages import GROUPS, group_of
from modprompt.experiments.reporting import alike
from modprompt.experiments.running import state
from modprompt.io import base_new
from modprompt.io.images import BY_CLASS, mark_of
from modprompt.io.result import NO_IMAGES, seconds

if TYPE_CHECKING:
    import pandas as pd


class Outcome(NamedTuple):
    """Accuracy of a run in percent, or None and the reason why there is none."""

    accuracy_pct: float | None
    reason: str = ""
    result: dict[str, Any] | None = None  # what its result.json holds, where there is one
    folder: Path | None = None  # the run's, from which more can be read, if it is known
    front: dict[str, Any] | None = None  # the result of its first stage, where that is another method of the experiment
    notes: tuple[str, ...] = ()  # what it says of its training on its data set, besides its settings

    @property
    def is_there(self) -> bool:
        """Whether the run has ended and counts, be it without test images."""
        return self.accuracy_pct is not None or self.reason == NO_IMAGES


class Line(NamedTuple):
    """A method of the report."""

    label: str  # its name in tables
    family: str  # what variants of a grid share
    seeds: tuple[int, ...]  # those that every number of it must have
    published: str = ""  # its row in published.yaml
    trains: bool = True  # whether it trains anything
    under: str = ""  # the acquisition that it runs under, in rounds
    columns: tuple[str, ...] = ()  # those that it has numbers in; empty if Results knows
    group: str = ""  # its heading, in a report with several; empty for none
    shots_file: str = ""  # of its unequal shots
    apart: str = ""  # why its numbers cannot be compared with those of the others; else empty

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
    """

    def __init__(self, lines: Iterable[Line], columns: Sequence[str], datasets: Sequence[str]):
        self.lines, self.columns, self.datasets = list(lines), tuple(columns), tuple(datasets)
        self._outcomes: dict[tuple[str, str, str], dict[int, Outcome]] = {}
        self._parted: dict[tuple[str, ...], alike.Parted] = {}
        self._stages: dict[tuple[str, str, str], list[tuple[str, float | None]]] = {}

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

    def add_stage(self, training: Job, stage: Job, result: Mapping[str, Any] | None) -> None:
        """Add what a training's first stage left, which may serve many trainings."""
        place = (training.method.family, training.dataset, training.column)
        self._stages.setdefault(place, []).append((stage.folder, seconds(result, "training_s")))

    def stage_s(self, family: str, dataset: str, column: str) -> float | None:
        """Seconds of first stages for each training of a method; 0 if it has none, None if one is not known."""
        trainings = self._stages.get((family, dataset, column), [])
        stages = dict(trainings).values()  # each once
        return None if None in stages else sum(filter(None, stages)) / max(len(trainings), 1)

    def outcomes(self, line: Line, dataset: str, column: str) -> dict[int, Outcome]:
        """Outcomes by seed: one for each seed of the method."""
        known = self._outcomes.get((line.label, dataset, column), {})
        return {seed: known.get(seed, Outcome(None, "the run is missing")) for seed in line.seeds}

    def is_asked(self, line: Line, column: str) -> bool:
        """Whether a method has a number in a column: 0 shots are for methods that train nothing, others are not."""
        if line.columns:
            return column in line.columns
        return column != BY_CLASS and not (column.isdigit() and (column == "0") == line.trains)

    def parted(self, line: Line, datasets: Sequence[str]) -> alike.Parted:
        """In what a method's runs on some data sets differ that cannot be averaged; empty if they can."""
        place = (line.label, *datasets)
        if place not in self._parted:
            runs = (
                (dataset, dataset if len(datasets) > 1 else f"{column} seed {seed}", outcome.result)
                for _, dataset, column, seed, outcome in self.all(line, datasets)
                if outcome.result
            )
            self._parted[place] = alike.parted(runs)
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
        """Remarks on a method's numbers on some data sets: seeds that are not the report's `seeds`, by what it was
        chosen, what its training saw."""
        own = f"seed{'s' * (len(line.seeds) > 1)} {', '.join(map(str, line.seeds))}"
        known = [outcome.result for *_, outcome in self.all(line, datasets) if outcome.result]
        marks = sorted({mark for one in known for mark in (mark_of(one), str(one.get(base_new.SEEN) or ""))})
        mixed = alike.in_words(self.parted(line, datasets), whole=False)
        is_other = line.trains and line.seeds != tuple(seeds)
        shots = f"numbers of shots per class from {Path(line.shots_file).name}" if self._has_other_shots(line) else ""
        return "; ".join(filter(None, [own if is_other else "", *marks, line.apart, shots, mixed]))

    def _has_other_shots(self, line: Line) -> bool:
        """Whether a method has unequal shots, and other methods have other ones in the same columns."""
        others = [one for one in self.lines if one.trains and one.shots_file != line.shots_file]
        apart = (one.columns and line.columns and not {*one.columns} & {*line.columns} for one in others)
        return bool(line.shots_file) and not all(apart)

    def all(
        self, of: Line | None = None, datasets: Sequence[str] | None = None
    ) -> Iterator[tuple[Line, str, str, int, Outcome]]:
        """(line, data set, column, seed, outcome) of every run that there should be; of one method, on some data sets,
        where they are given."""
        for line in self.lines if of is None else [of]:
            for dataset in self.datasets if datasets is None else datasets:
                for column in (column for column in self.columns if self.is_asked(line, column)):
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
            method.published,
            method.trains,
            method.under,
            columns_of(method, experiment),
            group_of(method.trainer, dict(method.options), method.front is not None),
            method.shots_file if method.trains else "",
        )
        for method in experiment.lines
    ]
    datasets = (experiment.source,) * bool(experiment.source) + experiment.datasets
    results = Results(lines, columns(experiment), datasets)
    stood = {job.folder: one for job, one in states}
    for job in wanted(experiment) if stood else ():
        if job.stage or job.is_front or job.folder not in stood:
            continue
        own, first = stood[job.folder], stood[job.first.folder] if job.first else None
        if job.first and first and job.first.stage and not job.tests:
            results.add_stage(job, job.first, first.result)
        if own.name == state.FINISHED:
            outcome = Outcome(
                own.accuracy_pct,
                NO_IMAGES if own.accuracy_pct is None else "",
                own.result,
                out / job.folder if out else None,
                first.result if job.first and first and job.first.is_front else None,
                _notes(job, stood),
            )
            if (mark := mark_of(own.result or {})) and not selected_on_test:
                outcome = Outcome(None, f"{mark}; add --selected-on-test to show the result")
        else:
            outcome = Outcome(None, f"{own.name}{f': {own.why}' if own.why else ''}")
        for column, one in _by_column(job, outcome):
            results.add(job.method.label, job.dataset, column, job.seed, one)
    return results


def _notes(job: Job, stood: Mapping[str, state.State]) -> tuple[str, ...]:
    """What a run and its earlier stages say about their training on its data set, each once."""
    stages = [one for one in (job, job.parent, job.first) if one is not None and one.dataset == job.dataset]
    known = [stood[one.folder].result or {} for one in stages if one.folder in stood]
    return tuple(dict.fromkeys(note for result in known for note in result.get("notes") or ()))


def _by_column(job: Job, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
    """A run's outcome in each column that it fills: two for a test of base and new classes, together or apart."""
    columns = {ALL: TOGETHER, APART: dict(zip(ALONE, ALONE))}.get(job.column)
    if columns is None:
        yield job.column, outcome
        return
    halves = (outcome.result or {}).get(base_new.KEY if job.column == ALL else base_new.APART) or {}
    for half, column in columns.items():
        accuracy = (halves.get(half) or {}).get("accuracy_pct")
        why = outcome.reason or (
            "" if accuracy is not None else "the result has no accuracy for this half of the classes"
        )
        yield column, outcome._replace(accuracy_pct=accuracy, reason=why)
