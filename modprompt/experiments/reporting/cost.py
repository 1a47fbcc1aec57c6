"""What methods cost: trained parameters, seconds of training and testing, beside their accuracy.

Seconds are as the runs measured them, so that they can be compared where card and jobs at once are the same. Those of
runs that shared a GPU are left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

from modprompt.experiments.plan.base2new import TOGETHER
from modprompt.experiments.plan.experiment import ACTIVE, Experiment
from modprompt.experiments.plan.kinds import BEHIND
from modprompt.experiments.reporting import searches
from modprompt.experiments.reporting.render import EMPTY, STD, cell_text, text_cell
from modprompt.experiments.reporting.results import Line, Outcome, Results, most_shots
from modprompt.experiments.reporting.table import Cell, Section, average_over, cell_of, named
from modprompt.runs import result as result_file

FILE_NAME = "cost.csv"
COLUMNS = ("method", "trained parameters", "training (s)", "testing (s)", "device", "jobs at once")  # then an accuracy
ABOUT = (
    "Trained parameters: of a head with those of the prompts that it stands behind. Seconds of one training, all of "
    "its starts together, with its share of a search or the training of the prompts that a head stands behind, and of "
    f"its tests: means over data sets, then {STD} over seeds; none of runs that shared a GPU."
)
COLUMNS_OF_CSV = (
    "method", "group", "trained_parameters_least", "trained_parameters_most", "training_s_mean",
    "training_s_population_std", "testing_s_mean", "testing_s_population_std", "device", "jobs_at_once", "accuracy_of",
    "accuracy_mean_pct", "accuracy_population_std_pct",
)  # fmt: skip


class Cost(NamedTuple):
    """What a method costs; None and "" where results do not say it.

    parameters: the least and the most that are trained; data sets may differ.
    device: card, or cpu; several with commas.
    jobs: how many runs ran at once.
    accuracy: the last number of the last table, of few shots that of the most.
    said: what tells its numbers from the others'.
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
    """Of each method, in the order of the tables; none where no result says anything, or they are of rounds."""
    if experiment.protocol == ACTIVE or not sections:
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
    cells = section.measured().get(line.label, (None,))
    if experiment.protocol != "few_shot":
        return cells[-1]
    return dict(zip(section.columns, cells)).get(counted[0]) if counted else None


def _counted(experiment: Experiment, results: Results, line: Line) -> list[str]:
    """The columns whose runs count: of few shots the most; not tests on features that other tests have kept."""
    columns = [name for name in results.columns if results.is_asked(line, name) and name not in TOGETHER.values()]
    return [most for most in [most_shots(columns)] if most] if experiment.protocol == "few_shot" else columns


def _stages(line: Line, outcome: Outcome) -> list[dict[str, Any]]:
    """The results of a run and of what was trained before it; none if a head is behind prompts that nobody knows."""
    if outcome.result is None or (line.group == BEHIND and outcome.front is None):
        return []
    return [outcome.result, *([outcome.front] if outcome.front else [])]


def _trained(line: Line, outcome: Outcome) -> int | None:
    """Parameters that were trained to get there."""
    sizes: list[Any] = [one.get("trained_parameters") for one in _stages(line, outcome)]
    return int(sum(sizes)) if sizes and None not in sizes else None


def _seconds(values: Sequence[list[float] | None]) -> Cell | None:
    return cell_of(average_over(values))


def _summed(results: Results, line: Line, dataset: str, columns: Sequence[str]) -> list[float] | None:
    """Of each seed the seconds of all tests on a data set."""
    of_columns = []
    for column in columns:
        found = [result_file.seconds(one.result, "testing_s") for one in results.runs(line, dataset, column) or ()]
        of_columns.append(found)
    if not of_columns or any(not found or None in found for found in of_columns):
        return None
    return [float(sum(values)) for values in zip(*of_columns)]


def _training(results: Results, line: Line, columns: Sequence[str]) -> Cell | None:
    """Over the data sets that were trained on: of the cross protocols the source alone."""
    values = []
    for dataset in results.datasets:
        for column in columns:
            found = results.runs(line, dataset, column) or []
            if not found or any(one.result is None for one in found):
                return None
            trained = [_stages(line, one) for one in found if one.result and not one.result.get("evaluated")]
            if trained:
                values.append(_with_search(results, line, dataset, column, trained))
    return _seconds(values)


def _with_search(
    results: Results, line: Line, dataset: str, column: str, trained: Sequence[list[dict[str, Any]]]
) -> list[float] | None:
    """The seconds of each seed: of all its stages, and its share of a search."""
    of_search = searches.share_s(results, line.family, dataset, column)
    seconds: list[list[Any]] = [[result_file.seconds(one, "training_s") for one in stages] for stages in trained]
    if of_search is None or any(not own or None in own for own in seconds):
        return None
    return [float(sum(own)) + of_search for own in seconds]


def texts(found: Sequence[Cost], accuracy: str) -> list[tuple[str, ...]]:
    """The table as people read it: names of columns, then a row for each method.

    Args:
        found: the costs.
        accuracy: what the accuracy is called.
    """
    rows = [
        (named(one.label, one.said), _parameters(one), _short(one.training_s), _short(one.testing_s),
         one.device or EMPTY, one.jobs or EMPTY, cell_text(one.accuracy))
        for one in found
    ]  # fmt: skip
    return [(*COLUMNS, accuracy), *rows] if rows else []


def _parameters(one: Cost) -> str:
    if one.parameters is None:
        return EMPTY
    least, most = one.parameters
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _short(cell: Cell | None) -> str:
    if cell is None:
        return EMPTY
    return f"{cell.mean:,.2f}" + ("" if cell.std is None else f" +- {cell.std:,.2f}")


def rows_of_csv(found: Sequence[Cost], accuracy: str) -> list[list[str]]:
    """A row for each method; cells without a number are empty."""
    return [
        [
            text_cell(named(one.label, one.said)),
            one.group,
            *map(str, one.parameters or ("", "")),
            *_numbers(one.training_s),
            *_numbers(one.testing_s),
            text_cell(one.device),
            one.jobs,
            text_cell(accuracy),
            *_numbers(one.accuracy),
        ]
        for one in found
    ]


def _numbers(cell: Cell | None) -> tuple[str, str]:
    mean, std = (None, None) if cell is None else cell
    return tuple("" if value is None else f"{value:.4f}" for value in (mean, std))  # type: ignore[return-value]


def accuracy_name(sections: Sequence[Section]) -> str:
    """What the accuracy beside the costs is: the deciding column of the last table."""
    return f"{sections[-1].deciding} (%), {sections[-1].title}" if sections else ""
