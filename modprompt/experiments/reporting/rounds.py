"""What runs say of their rounds, by seed and round: labels, accuracy, classes covered, how even the labels are.

The few-shot runs of the same budget are the same, a round for each number of shots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, NamedTuple, Sequence

import numpy as np

from modprompt.experiments.plan.protocols import new_of
from modprompt.experiments.plan.rounds import FEW_SHOT
from modprompt.experiments.reporting.render import text_cell
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.runs.images import TEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

RUN = "accuracy"  # the column of runs with rounds
_OF_ROUND = (
    "picked", "free", "asked", "labels", "images", "accuracy_pct", "new_accuracy_pct", "classes_covered", "balance",
    "wrong_free", "picks_hash", "prompts_hash", "elapsed_s",
)  # fmt: skip
COLUMNS = ("dataset", "method", "acquisition", "seed", "round", "classes", *_OF_ROUND)  # of rounds.csv


class Series(NamedTuple):
    """Numbers of a method on a data set, (seeds, rounds) each; nan where there is none.

    labels: asked for so far.
    accuracy: of all classes, or of the base classes, in percent.
    new: of the new classes, in percent.
    covered: classes that have a label, in percent of all.
    balance: entropy of the labels, in percent of the largest that there can be.
    """

    labels: Numbers
    accuracy: Numbers
    new: Numbers
    covered: Numbers
    balance: Numbers

    def area(self) -> list[float]:
        """The area under the curve of accuracy over labels, by seed; see area_pct."""
        return [area_pct(labels, accuracy) for labels, accuracy in zip(self.labels, self.accuracy)]


def area_pct(labels: Sequence[float], accuracy: Sequence[float]) -> float:
    """Area under a curve by the trapezoid rule, divided by the range of labels: the mean accuracy along the way.

    Args:
        labels: asked for, ascending.
        accuracy: with as many labels, in percent.

    Returns:
        In percent; nan for fewer than two rounds, and where a number is lacking.
    """
    x, y = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    span = x[-1] - x[0] if len(x) else 0.0
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / span) if span > 0 else float("nan")


def rounds_of(outcome: Outcome) -> list[dict[str, Any]]:
    """The rounds of a run, as its result has them; none of a run without a result, or whose result is no such."""
    rounds = _active(outcome).get("rounds")
    return [one for one in rounds if isinstance(one, dict)] if isinstance(rounds, list) else []


def _active(outcome: Outcome) -> dict[str, Any]:
    active = (outcome.result or {}).get("active")
    return active if isinstance(active, dict) else {}


def _labels_are_counted(outcome: Outcome) -> bool:
    """Whether a run's labels are all: an earlier version left out those of validation images that anything chose by."""
    chosen = (outcome.result or {}).get("selected_on") not in (None, "", TEST)
    return not chosen or "labels_of_choice" in _active(outcome)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")


def classes_of(results: Results, dataset: str) -> float:
    """How many classes a data set has by its runs with rounds; nan if none says so."""
    outcomes = (one for line in results.lines for one in results.outcomes(line, dataset, RUN).values())
    known = (_number(_active(outcome).get("classes")) for outcome in outcomes)
    return next((classes for classes in known if classes > 0), float("nan"))


def series_of(results: Results, line: Line, dataset: str) -> Series | None:
    """The numbers of a line; None for one without rounds, while a seed has not finished, and if there is no mean."""
    if results.parted(line, [dataset]):
        return None
    if line.acquisition == FEW_SHOT:
        return _few_shot(results, line, dataset)
    outcomes = list(results.outcomes(line, dataset, RUN).values()) if line.acquisition else []
    rounds = [rounds_of(outcome) for outcome in outcomes]
    if not rounds or not all(rounds) or len({len(one) for one in rounds}) > 1:
        return None

    def numbers(key: str) -> Numbers:
        return np.array([[_number(one.get(key)) for one in of_seed] for of_seed in rounds])

    labels = numbers("labels")
    labels[[not _labels_are_counted(one) for one in outcomes]] = np.nan
    covered = 100 * numbers("classes_covered") / classes_of(results, dataset)
    balance = 100 * numbers("balance")
    return Series(labels, numbers("accuracy_pct"), numbers("new_accuracy_pct"), covered, balance)


def shots_of(line: Line) -> list[str]:
    """The columns of a few-shot line, one for each number of shots, those of the new classes aside."""
    return [column for column in line.columns if column.isdigit()]


def _few_shot(results: Results, line: Line, dataset: str) -> Series | None:
    shots = shots_of(line)

    def accuracies(columns: Sequence[str]) -> Numbers:
        outcomes = [results.outcomes(line, dataset, column).values() for column in columns]
        return np.array([[_number(one.accuracy_pct) for one in of_column] for of_column in outcomes]).T

    accuracy = accuracies(shots)
    if np.isnan(accuracy).all():
        return None
    of_choice = [[_of_choice(one) for one in results.outcomes(line, dataset, column).values()] for column in shots]
    labels = np.array(list(map(float, shots))) * classes_of(results, dataset) + np.array(of_choice, dtype=float).T
    unknown = np.full_like(accuracy, np.nan)
    new = accuracies([new_of(column) for column in shots]) if new_of(shots[0]) in line.columns else unknown
    return Series(labels, accuracy, new, unknown, unknown)


def _of_choice(outcome: Outcome) -> int:
    """Labels of validation images that a run chose by, beside those of its shots."""
    return int((outcome.result or {}).get("labels_of_choice") or 0)


def rows_of_csv(results: Results) -> Iterator[list[str]]:
    """A row for each finished run and round, few-shot runs by their shots among them; what is not known is empty."""
    for dataset in results.datasets:
        classes = classes_of(results, dataset)
        for line in results.lines:
            for row in _rows(results, line, dataset, classes):
                yield [text_cell(one) if isinstance(one, str) else str(one) for one in row]


def _rows(results: Results, line: Line, dataset: str, classes: float) -> Iterator[list[Any]]:
    known: Any = "" if np.isnan(classes) else int(classes)
    for seed, outcome in results.outcomes(line, dataset, RUN).items() if line.acquisition else ():
        for one in rounds_of(outcome):
            texts = ["" if one.get(key) is None else one[key] for key in _OF_ROUND]
            yield [dataset, line.panel, line.acquisition, seed, one.get("round", ""), known, *texts]
    for number, shots in enumerate(shots_of(line) if line.acquisition == FEW_SHOT else ()):
        new = results.outcomes(line, dataset, new_of(shots)) if new_of(shots) in line.columns else {}
        for seed, outcome in results.outcomes(line, dataset, shots).items():
            if outcome.accuracy_pct is None:
                continue
            labels = None if known == "" else int(shots) * known + _of_choice(outcome)
            facts = {"labels": labels, "accuracy_pct": outcome.accuracy_pct}
            facts["new_accuracy_pct"] = new[seed].accuracy_pct if seed in new else None
            texts = ["" if facts.get(key) is None else facts[key] for key in _OF_ROUND]
            yield [dataset, line.panel, FEW_SHOT, seed, number, known, *texts]
