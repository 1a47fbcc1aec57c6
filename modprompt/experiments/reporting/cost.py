"""What methods cost: trained parameters, seconds of training and testing, beside their accuracy.

Seconds are as the runs measured them, so that they can be compared where card and jobs at once are the same.
"""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple, Sequence

from modprompt.experiments.plan.base2new import TOGETHER
from modprompt.experiments.plan.experiment import ACTIVE, Experiment
from modprompt.experiments.reporting import searches
from modprompt.experiments.reporting.render import EMPTY, cell_text, text_cell
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import Cell, Section, average_over, cell_of

FILE_NAME = "cost.csv"
COLUMNS = ("method", "trained parameters", "training (s)", "testing (s)", "device", "jobs at once")  # then an accuracy
ABOUT = (
    "Seconds of one training, all of its starts together, with its share of a search or the training of the prompts "
    "that a head stands behind, and of its tests: means over data sets, then mean and standard deviation over seeds."
)
COLUMNS_OF_CSV = (
    "method", "group", "trained_parameters_least", "trained_parameters_most", "training_s_mean", "training_s_std",
    "testing_s_mean", "testing_s_std", "device", "jobs_at_once", "accuracy_of", "accuracy_mean_pct", "accuracy_std_pct",
)  # fmt: skip


class Cost(NamedTuple):
    """What a method costs; None and "" where results do not say it.

    parameters: the least and the most that are trained; data sets may differ.
    device: card, or cpu; several with commas.
    jobs: how many runs ran at once.
    accuracy: the last number of the last table.
    """

    label: str
    group: str
    parameters: tuple[int, int] | None
    training_s: Cell | None
    testing_s: Cell | None
    device: str
    jobs: str
    accuracy: Cell | None


def costs(experiment: Experiment, results: Results, sections: Sequence[Section]) -> list[Cost]:
    """Of each method, in the order of the tables; none where no result says anything, or they are of rounds."""
    if experiment.protocol == ACTIVE or not sections:
        return []
    found = [_cost(experiment, results, sections[-1], line) for line in results.in_groups()]
    return found if any(one.testing_s for one in found) else []


def _cost(experiment: Experiment, results: Results, section: Section, line: Line) -> Cost:
    counted = _counted(experiment, results, line)
    found = [result for dataset in results.datasets for result in _of_dataset(results, line, dataset, counted)]
    known = [result for result in found if result is not None]
    parameters = [result.get("trained_parameters") for result in known]
    sizes = [size for size in parameters if size is not None]
    is_whole = len(known) == len(found) > 0
    return Cost(
        line.label,
        line.group,
        (min(sizes), max(sizes)) if sizes and is_whole and len(sizes) == len(parameters) else None,
        _training(results, line, counted) if line.trains else Cell(0.0) if is_whole else None,
        _seconds([_summed(results, line, dataset, counted) for dataset in results.datasets]),
        ", ".join(dict.fromkeys(str(result["device"]) for result in known if result.get("device"))),
        ", ".join(dict.fromkeys(str(result["jobs_at_once"]) for result in known if result.get("jobs_at_once"))),
        _accuracy(experiment, section, line, counted),
    )


def _accuracy(experiment: Experiment, section: Section, line: Line, counted: Sequence[str]) -> Cell | None:
    cells = section.measured().get(line.label, (None,))
    if experiment.protocol != "few_shot" or not counted:
        return cells[-1]
    return dict(zip(section.columns, cells)).get(counted[0])


def _counted(experiment: Experiment, results: Results, line: Line) -> list[str]:
    """The columns whose runs count: of few shots the most; not tests on features that other tests have kept."""
    columns = [name for name in results.columns if results.is_asked(line, name) and name not in TOGETHER.values()]
    return [max(columns, key=int)] if experiment.protocol == "few_shot" and columns else columns


def _of_dataset(results: Results, line: Line, dataset: str, columns: Sequence[str]) -> Iterator[dict[str, Any] | None]:
    for column in columns:
        yield from (outcome.result for outcome in results.outcomes(line, dataset, column).values())


def _seconds(values: Sequence[list[float] | None]) -> Cell | None:
    return cell_of(average_over(values))


def _summed(results: Results, line: Line, dataset: str, columns: Sequence[str]) -> list[float] | None:
    """Of each seed the seconds of all tests on a data set."""
    of_columns = []
    for column in columns:
        found = [(one.result or {}).get("testing_s") for one in results.outcomes(line, dataset, column).values()]
        of_columns.append(found)
    if not of_columns or any(value is None for found in of_columns for value in found):
        return None
    return [float(sum(values)) for values in zip(*of_columns)]


def _training(results: Results, line: Line, columns: Sequence[str]) -> Cell | None:
    """Over the data sets that were trained on: of the cross protocols the source alone."""
    values = []
    for dataset in results.datasets:
        for column in columns:
            found = [one.result for one in results.outcomes(line, dataset, column).values()]
            if any(result is None for result in found):
                return None
            trained = [result.get("training_s") for result in found if result and not result.get("evaluated")]
            if trained:
                before = results.fronts.get((line.family, dataset, column))
                values.append(_with_first(results, line, dataset, column, trained, before))
    return _seconds(values)


def _with_first(
    results: Results,
    line: Line,
    dataset: str,
    column: str,
    trained: Sequence[float | None],
    before: Sequence[float | None] | None,
) -> list[float] | None:
    """The seconds of each seed with those of its first stage."""
    of_search = searches.share_s(results, line.family, dataset, column)
    of_prompts = before or [0.0] * len(trained)
    if of_search is None or None in (*trained, *of_prompts) or len(of_prompts) != len(trained):
        return None
    return [float(value or 0.0) + float(more or 0.0) + of_search for value, more in zip(trained, of_prompts)]


def texts(found: Sequence[Cost], accuracy: str) -> list[tuple[str, ...]]:
    """The table as people read it: names of columns, then a row for each method.

    Args:
        found: the costs.
        accuracy: what the accuracy is called.
    """
    rows = [
        (one.label, _parameters(one), _short(one.training_s), _short(one.testing_s), one.device or EMPTY,
         one.jobs or EMPTY, cell_text(one.accuracy))
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
            text_cell(one.label),
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
    """What the accuracy beside the costs is: the last column of the last table."""
    return f"{sections[-1].columns[-1]} (%), {sections[-1].title}" if sections else ""
