"""What methods cost: trained parameters, seconds of training and testing, next to their accuracy.

Seconds are as the runs measured them, so that they can be compared where GPU and jobs at once are the same. Those of
runs that shared a GPU are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.experiments.plan.protocols import TOGETHER
from modprompt.experiments.plan.stages import ON_PROMPTS, STAGES, stage_of
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.results import Line, Outcome, Results, most_shots
from modprompt.experiments.reporting.tables import (
    EMPTY,
    STD,
    Cell,
    Section,
    average_over,
    cell_numbers,
    cell_of,
    cell_text,
    named,
)
from modprompt.experiments.running import state
from modprompt.io import result as result_file
from modprompt.io.text import one_line

FILE_NAME = "cost.csv"
COLUMNS = ("method", "trained parameters", "training (s)", "testing (s)", "device", "jobs at once")  # then an accuracy
ABOUT = (
    f"Trained parameters: {', '.join(one.parameters for one in STAGES if one.parameters)}. Seconds of one training, "
    f"all of its starts together, with its share of {' or '.join(one.seconds for one in STAGES)}, and of its tests: "
    f"means over data sets, then {STD} over seeds; none of runs that shared a GPU."
)
COLUMNS_OF_CSV = (
    "method", "group", "trained_parameters_least", "trained_parameters_most", "training_s_mean",
    "training_s_population_std", "testing_s_mean", "testing_s_population_std", "device", "jobs_at_once", "accuracy_of",
    "accuracy_mean_pct", "accuracy_population_std_pct",
)  # fmt: skip


class Cost(NamedTuple):
    """What a method costs; None and "" where results do not say it.

    parameters: the least and the most that are trained; data sets may differ.
    device: GPU, or cpu; several with commas.
    jobs: how many runs ran at once.
    accuracy: the deciding number of the last table: H, or for few-shot that of the most shots.
    said: remarks on its numbers.
    """

    label: str
    group: str
    parameters: tuple[int, int] | None
    training_s: Cell | None
    testing_s: Cell | None
    device: str
    jobs: str
    accuracy: Cell | None
    said: str = ""


def costs(experiment: Experiment, results: Results, sections: Sequence[Section]) -> list[Cost]:
    """The costs, in the order of the tables; none if no result has any, or in a feature's protocol."""
    if experiment.added is not None or not sections:
        return []
    found = [_cost(experiment, results, sections[-1], line) for line in results.in_groups()]
    return found if any(one.testing_s or one.parameters for one in found) else []


def _cost(experiment: Experiment, results: Results, section: Section, line: Line) -> Cost:
    counted = _counted(experiment, results, line)
    runs = [results.runs(line, dataset, column) for dataset in results.datasets for column in counted]
    found = [one for of_column in runs for one in of_column or ()]
    known = [one.result for one in found if one.result]
    parameters = [_trained(line, one) for one in found]
    sizes = [size for size in parameters if size is not None]
    is_whole = None not in runs and len(known) == len(found) > 0
    return Cost(
        line.label,
        line.group,
        (min(sizes), max(sizes)) if sizes and is_whole and len(sizes) == len(parameters) else None,
        _training(results, line, counted) if line.trains else Cell(0.0) if is_whole else None,
        _seconds([_summed(results, line, dataset, counted) for dataset in results.datasets]),
        ", ".join(dict.fromkeys(str(result["device"]) for result in known if result.get("device"))),
        ", ".join(dict.fromkeys(str(result["jobs_at_once"]) for result in known if result.get("jobs_at_once"))),
        _accuracy(experiment, section, line, counted),
        results.said(line, results.datasets, experiment.seeds),
    )


def _accuracy(experiment: Experiment, section: Section, line: Line, counted: Sequence[str]) -> Cell | None:
    cells = dict(zip(section.columns, section.measured().get(line.label, ())))
    if experiment.protocol != "few_shot":
        return cells.get(section.deciding)
    return cells.get(counted[0]) if counted else None


def _counted(experiment: Experiment, results: Results, line: Line) -> list[str]:
    """The columns whose runs count: of few shots the most; not tests on features that other tests have kept."""
    columns = [name for name in results.columns if results.is_asked(line, name) and name not in TOGETHER.values()]
    return [most for most in [most_shots(columns)] if most] if experiment.protocol == "few_shot" else columns


def _stages(line: Line, outcome: Outcome) -> list[dict[str, Any]]:
    """The results of a run and of what was trained before it; none if its first stage is not known."""
    if outcome.result is None or (line.group == ON_PROMPTS.group and outcome.front is None):
        return []
    return [outcome.result, *([outcome.front] if outcome.front else [])]


def _trained(line: Line, outcome: Outcome) -> int | None:
    """Parameters that were trained to get there."""
    stages = _stages(line, outcome)
    own = stages if line.group == ON_PROMPTS.group else stages[:1]  # a teacher is no part of what it taught
    sizes: list[Any] = [one.get("trained_parameters") for one in own]
    return int(sum(sizes)) if sizes and None not in sizes else None


def _seconds(values: Sequence[list[float] | None]) -> Cell | None:
    return cell_of(average_over(values))


def _summed(results: Results, line: Line, dataset: str, columns: Sequence[str]) -> list[float] | None:
    """For each seed the seconds of all tests on a data set; a run that fills two columns counts once."""
    runs = [results.runs(line, dataset, column) or [] for column in columns]
    distinct = [one for at, one in enumerate(runs) if not any(_are_same(one, other) for other in runs[:at])]
    of_columns = [[result_file.seconds(one.result, "testing_s") for one in column] for column in distinct]
    if not of_columns or any(not found or None in found for found in of_columns):
        return None
    return [float(sum(values)) for values in zip(*of_columns)]


def _are_same(runs: Sequence[Outcome], others: Sequence[Outcome]) -> bool:
    return 0 < len(runs) == len(others) and all(one.result is other.result for one, other in zip(runs, others))


def _training(results: Results, line: Line, columns: Sequence[str]) -> Cell | None:
    """Over the data sets that were trained on: for the cross protocols only the source."""
    values = []
    for dataset in results.datasets:
        for column in columns:
            found = results.runs(line, dataset, column) or []
            if not found or any(one.result is None for one in found):
                return None
            trained = [_stages(line, one) for one in found if one.result and not one.result.get("evaluated")]
            if trained:
                values.append(_with_stage(results, line, dataset, column, trained))
    return _seconds(values)


def _with_stage(
    results: Results, line: Line, dataset: str, column: str, trained: Sequence[list[dict[str, Any]]]
) -> list[float] | None:
    """The seconds of each seed: of all its stages, and its share of a first stage."""
    of_stage = share_s(results, line.family, dataset, column)
    seconds: list[list[Any]] = [[result_file.seconds(one, "training_s") for one in stages] for stages in trained]
    if of_stage is None or any(not own or None in own for own in seconds):
        return None
    return [float(sum(own)) + of_stage for own in seconds]


def texts(found: Sequence[Cost], accuracy: str) -> list[tuple[str, ...]]:
    """The table as people read it: names of columns, then a row for each method.

    Args:
        found: the costs.
        accuracy: what the accuracy is called.
    """
    rows = [
        (
            named(one.label, one.said),
            _parameters(one),
            *(cell_text(cell, ",.2f") for cell in (one.training_s, one.testing_s)),
            one.device or EMPTY,
            one.jobs or EMPTY,
            cell_text(one.accuracy),
        )
        for one in found
    ]
    return [(*COLUMNS, accuracy), *rows] if rows else []


def _parameters(one: Cost) -> str:
    if one.parameters is None:
        return EMPTY
    least, most = one.parameters
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def rows_of_csv(found: Sequence[Cost], accuracy: str) -> list[list[str]]:
    """A row for each method; cells without a number are empty."""
    return [
        [
            one_line(named(one.label, one.said)),
            one.group,
            *map(str, one.parameters or ("", "")),
            *cell_numbers(one.training_s),
            *cell_numbers(one.testing_s),
            one_line(one.device),
            one.jobs,
            one_line(accuracy),
            *cell_numbers(one.accuracy),
        ]
        for one in found
    ]


def accuracy_name(sections: Sequence[Section]) -> str:
    """What the accuracy next to the costs is: the deciding column of the last table."""
    return f"{sections[-1].merit} (%), {sections[-1].where}" if sections else ""


def stages(results: Results) -> dict[str, list[str]]:
    """What a report says of first stages, by heading: a line for each two-stage method, data set and column."""
    found: dict[str, list[str]] = {}
    for (family, dataset, column), (trainings, first) in results.stages.items():
        what = f"{family}, {dataset}{'' if column == 'accuracy' else f' {column}'}"
        lines = found.setdefault(stage_of(first[0][0].stage).plural.capitalize(), [])
        lines.append(f"{what}: {_told(trainings, first, results.odd)}")
    return found


def _told(trainings: Sequence[Job], stages: Sequence[tuple[Job, state.State]], odd: Collection[str]) -> str:
    first = stages[0][0]
    shared = trainings[0].method.stage_seed is not None
    seeds = ", ".join(str(job.seed) for job, _ in stages)
    name = first.stage
    how = f"one {name} for all seeds, {name}_seed {seeds}" if shared else f"one {name} per seed ({seeds})"
    found = [stands.result or {} for _, stands in stages if stands.name == state.FINISHED]
    runs = [(job.dataset, f"seed {job.seed}", stands.result or {}) for job, stands in stages]
    no_mean = alike.in_words(alike.parted(runs, odd))
    lacking = [f"seed {job.seed} {_why(stands)}" for job, stands in stages if stands.name != state.FINISHED]
    parts = [f"{how}, by {first.method.trainer} ({first.method.folder})"]
    parts += [_took(found), f"tested itself: {no_mean or _accuracies(name, found)}"] if found and not lacking else []
    return "; ".join([*parts, *(["not finished: " + ", ".join(lacking)] if lacking else [])])


def _why(stands: state.State) -> str:
    return f"{stands.name} ({stands.why})" if stands.why else stands.name


def _took(found: Sequence[dict[str, Any]]) -> str:
    if any(result_file.shared_gpu(result) for result in found):
        return "on a GPU that runs shared"
    return f"{sum(float(result.get('elapsed_s') or 0.0) for result in found):,.0f} s in all (the last start of each)"


def _accuracies(name: str, found: Sequence[dict[str, Any]]) -> str:
    """Means over first stages, in percent, of what their results say in their own part; else of their accuracy."""
    own = [result[name] for result in found if result.get(name)]
    texts = [
        f"{what} {_mean([float(one[key]) for one in own])}%"
        for key, what in stage_of(name).tested.items()
        if len(own) == len(found) and all(one.get(key) is not None for one in own)
    ]
    return ", ".join(texts) or f"{_mean([float(result['accuracy_pct']) for result in found])}%"


def _mean(values: Sequence[float]) -> str:
    return cell_text(Cell(fmean(values), pstdev(values) if len(values) > 1 else None))


def share_s(results: Results, family: str, dataset: str, column: str) -> float | None:
    """Seconds of first stages for each training of a method; 0 if it has none, None if one is not known."""
    trainings, found = results.stages.get((family, dataset, column), ((), ()))
    trained_s = [result_file.seconds(stands.result, "training_s") for _, stands in found]
    known = [float(one) for one in trained_s if one is not None]
    if len(known) < len(trained_s):
        return None
    return sum(known) / len(trainings) if trainings else 0.0
