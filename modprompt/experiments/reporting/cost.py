"""What methods cost: trained parameters, seconds of training and testing, next to their accuracy.

Seconds are as the runs measured them, so that they can be compared where GPU and jobs at once are the same. Those of
runs that shared a GPU are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.protocols import TOGETHER
from modprompt.experiments.plan.stages import ON_PROMPTS, STAGES
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.tables import EMPTY, STD, Cell, Section, cell_numbers, cell_text, most_shots, named
from modprompt.io.result import seconds
from modprompt.io.text import one_line

FILE_NAME = "cost.csv"
COLUMNS = ("method", "trained parameters", "training (s)", "testing (s)", "device", "jobs at once")  # then an accuracy
ABOUT = (
    "The trained parameters of a head on trained prompts include the parameters of the prompts. The training time is "
    "the time of one training in seconds, summed over all its starts, and includes the training's share of "
    f"{' or '.join(one.seconds for one in STAGES)}. The testing time is the time of all tests of one training. Times "
    f"are averaged over data sets and then shown as {STD} over seeds. Times of runs that shared a GPU are not shown."
)
COLUMNS_OF_CSV = (
    "method", "group", "trained_parameters_least", "trained_parameters_most", "training_s_mean",
    "training_s_population_std", "testing_s_mean", "testing_s_population_std", "device", "jobs_at_once", "accuracy_of",
    "accuracy_mean_pct", "accuracy_population_std_pct",
)  # fmt: skip
_OF_RUN = ("dataset", "seed", "run", "is_training", "training_s", "testing_s", "parameters", "device", "jobs")


class Cost(NamedTuple):
    """What a method costs; None and "" where results do not say it."""

    label: str
    group: str
    parameters: tuple[int, int] | None  # the least and the most that are trained; data sets may differ
    training_s: Cell | None
    testing_s: Cell | None
    device: str  # GPU, or cpu; several with commas
    jobs: str  # how many runs ran at once
    accuracy: Cell | None  # the deciding number of the last table: H, or for few-shot that of the most shots
    said: str = ""  # remarks on its numbers

    @property
    def name(self) -> str:
        """Its name in tables."""
        return named(self.label, self.said)


def costs(experiment: Experiment, results: Results, sections: Sequence[Section]) -> list[Cost]:
    """The costs, in the order of the tables; none if no result has any, or for rounds."""
    if experiment.added is not None or not sections:
        return []
    spent = [_cost(experiment, results, sections[-1], line) for line in results.in_groups()]
    return spent if any(one.testing_s or one.parameters for one in spent) else []


def _cost(experiment: Experiment, results: Results, section: Section, line: Line) -> Cost:
    columns = [name for name in results.columns if results.is_asked(line, name) and name not in TOGETHER.values()]
    if experiment.protocol == "few_shot":
        columns = [most for most in [most_shots(columns)] if most]
    decides = columns[0] if experiment.protocol == "few_shot" and columns else section.deciding
    accuracy = dict(zip(section.columns, section.measured().get(line.label, ()))).get(decides)
    runs, is_whole = _runs(results, line, columns)
    device, jobs = (", ".join(dict.fromkeys(filter(None, runs[name]))) for name in ("device", "jobs"))
    parameters = training = testing = None
    if is_whole:
        distinct = runs.drop_duplicates("run")
        training = _cell(runs[runs["is_training"]], "training_s") if line.trains else Cell(0.0)
        if not runs["parameters"].isna().any():
            parameters = int(runs["parameters"].min()), int(runs["parameters"].max())
        if not distinct["testing_s"].isna().any():
            testing = _cell(distinct.groupby(["dataset", "seed"], as_index=False)["testing_s"].sum(), "testing_s")
    said = results.said(line, results.datasets, experiment.seeds)
    return Cost(line.label, line.group, parameters, training, testing, device, jobs, accuracy, said)


def _runs(results: Results, line: Line, columns: Sequence[str]) -> tuple[pd.DataFrame, bool]:
    """A row for each run of a method in some columns, and whether all are there. Seconds and parameters are nan where a
    result does not say them; a run that fills two columns has two rows, with the same `run`."""
    rows, is_whole = [], True
    for dataset in results.datasets:
        for column in columns:
            outcomes = results.runs(line, dataset, column) or ()
            share_s = results.stage_s(line.family, dataset, column)
            for seed, outcome in zip(line.seeds, outcomes):
                rows.append({"dataset": dataset, "seed": seed, **_run(line, outcome, share_s)})
            is_whole &= bool(outcomes) and all(one.result is not None for one in outcomes)
    return pd.DataFrame(rows, columns=_OF_RUN), is_whole and bool(rows)


def _run(line: Line, outcome: Outcome, share_s: float | None) -> dict[str, Any]:
    result: dict[str, Any] = outcome.result or {}
    is_on_prompts = line.group == ON_PROMPTS.group
    stages = [result, *([outcome.front] if outcome.front or is_on_prompts else [])]  # with what was trained before it
    spent = [share_s, *(seconds(one, "training_s") for one in stages)]
    sizes = [(one or {}).get("trained_parameters") for one in (stages if is_on_prompts else stages[:1])]
    nan = float("nan")
    return {
        "run": id(outcome.result),
        "is_training": not result.get("evaluated"),
        "training_s": nan if None in spent else sum(spent),
        "testing_s": nan if (tested := seconds(result, "testing_s")) is None else tested,
        "parameters": nan if None in sizes else sum(sizes),  # a teacher's are no part of what it taught
        "device": str(result.get("device") or ""),
        "jobs": str(result.get("jobs_at_once") or ""),
    }


def _cell(runs: pd.DataFrame, name: str) -> Cell | None:
    """Mean and deviation over seeds of the means over all else; None where a number is not known."""
    if runs.empty or runs[name].isna().any():
        return None
    of_seeds = runs.groupby("seed")[name].mean()
    return Cell(float(of_seeds.mean()), float(of_seeds.std(ddof=0)) if len(of_seeds) > 1 else None)


def texts(spent: Sequence[Cost], accuracy: str) -> list[tuple[str, ...]]:
    """The table as people read it: names of columns, that of the accuracy as given, then a row for each method."""
    rows = []
    for one in spent:
        sizes = " to ".join(f"{number:,}" for number in dict.fromkeys(one.parameters or ()))
        seconds_of = (cell_text(cell, ",.2f") for cell in (one.training_s, one.testing_s))
        rows.append((one.name, sizes, *seconds_of, one.device, one.jobs, cell_text(one.accuracy)))
    return [(*COLUMNS, accuracy), *(tuple(text or EMPTY for text in row) for row in rows)] if rows else []


def rows_of_csv(spent: Sequence[Cost], accuracy: str) -> list[list[str]]:
    """A row for each method; cells without a number are empty."""
    return [
        [
            one_line(one.name),
            one.group,
            *map(str, one.parameters or ("", "")),
            *cell_numbers(one.training_s),
            *cell_numbers(one.testing_s),
            one_line(one.device),
            one.jobs,
            one_line(accuracy),
            *cell_numbers(one.accuracy),
        ]
        for one in spent
    ]


def accuracy_name(sections: Sequence[Section]) -> str:
    """What the accuracy next to the costs is: the deciding column of the last table."""
    return f"{sections[-1].merit} (%), {sections[-1].where}" if sections else ""
