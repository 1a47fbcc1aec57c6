"""Report on rounds, by seed and round: labels, accuracy, classes covered, how even the labels are.

Few-shot runs of the same budget are reported likewise, a round for each number of shots.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modprompt.active.plan import FEW_SHOT, Rounds, method_of, new_of
from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.figures import MOST_PANELS, WHISKERS, first_of, look, name_of, panels
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.tables import (
    AVERAGE,
    Cell,
    Row,
    Section,
    average_over,
    cell_of,
    images_of,
    row_of,
)
from modprompt.io.base_new import harmonic_mean
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

NO_TREES = "the log files of rounds do not say their labels: protocol active reads no other trees"
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
    covered: classes with a label, in percent of all.
    balance: entropy of the labels, in percent of its largest value.
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
    """Area under a curve by the trapezoid rule, divided by the range of labels: a mean accuracy.

    Args:
        labels: asked for, ascending.
        accuracy: with as many labels, in percent.

    Returns:
        In percent; nan for fewer than two rounds, and where a number is missing.
    """
    x, y = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    span = x[-1] - x[0] if len(x) else 0.0
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / span) if span > 0 else float("nan")


def rounds_of(outcome: Outcome) -> list[dict[str, Any]]:
    """The rounds of a run, as in its result; none without a result, or without rounds in it."""
    return _active(outcome).get("rounds") or []


def _active(outcome: Outcome) -> dict[str, Any]:
    return (outcome.result or {}).get("active") or {}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def classes_of(results: Results, dataset: str) -> float:
    """How many classes a data set has, from its runs with rounds; nan if unknown."""
    outcomes = (one for line in results.lines for one in results.outcomes(line, dataset, RUN).values())
    known = (_number(_active(outcome).get("classes")) for outcome in outcomes)
    return next((classes for classes in known if classes > 0), float("nan"))


def series_of(results: Results, line: Line, dataset: str) -> Series | None:
    """The numbers of a line; None without rounds, while a seed has not finished, and where there is no mean."""
    if results.parted(line, [dataset]):
        return None
    if line.under == FEW_SHOT:
        return _few_shot(results, line, dataset)
    outcomes = list(results.outcomes(line, dataset, RUN).values()) if line.under else []
    rounds = [rounds_of(outcome) for outcome in outcomes]
    if not rounds or not all(rounds) or len({len(one) for one in rounds}) > 1:
        return None

    def numbers(key: str) -> Numbers:
        return np.array([[_number(one.get(key)) for one in of_seed] for of_seed in rounds])

    covered = 100 * numbers("classes_covered") / classes_of(results, dataset)
    balance = 100 * numbers("balance")
    return Series(numbers("labels"), numbers("accuracy_pct"), numbers("new_accuracy_pct"), covered, balance)


def shots_of(line: Line) -> list[str]:
    """The columns of a few-shot line, one for each number of shots, without those of the new classes."""
    return [column for column in line.columns if column.isdigit()]


def _few_shot(results: Results, line: Line, dataset: str) -> Series | None:
    shots = shots_of(line)

    def accuracies(columns: Sequence[str]) -> Numbers:
        outcomes = [results.outcomes(line, dataset, column).values() for column in columns]
        found: Numbers = np.array([[_number(one.accuracy_pct) for one in of_column] for of_column in outcomes]).T
        return found

    accuracy = accuracies(shots)
    if np.isnan(accuracy).all():
        return None
    of_choice = [[_of_choice(one) for one in results.outcomes(line, dataset, column).values()] for column in shots]
    labels = np.array(list(map(float, shots))) * classes_of(results, dataset) + np.array(of_choice, dtype=float).T
    unknown = np.full_like(accuracy, np.nan)
    new = accuracies([new_of(column) for column in shots]) if new_of(shots[0]) in line.columns else unknown
    return Series(labels, accuracy, new, unknown, unknown)


def _of_choice(outcome: Outcome) -> int:
    """Labels of validation images that a run used for a choice, besides those of its shots."""
    return int((outcome.result or {}).get("labels_of_choice") or 0)


def rows_of_csv(results: Results) -> Iterator[list[Any]]:
    """A row for each finished run and round, few-shot runs too, by their shots; what is not known is empty."""
    for dataset in results.datasets:
        classes = classes_of(results, dataset)
        for line in results.lines:
            for row in _rows(results, line, dataset, classes):
                yield [one_line(one) if isinstance(one, str) else one for one in row]


def _rows(results: Results, line: Line, dataset: str, classes: float) -> Iterator[list[Any]]:
    known: Any = "" if np.isnan(classes) else int(classes)
    for seed, outcome in results.outcomes(line, dataset, RUN).items() if line.under else ():
        for one in rounds_of(outcome):
            texts = ["" if one.get(key) is None else one[key] for key in _OF_ROUND]
            yield [dataset, line.panel, line.under, seed, one.get("round", ""), known, *texts]
    for number, shots in enumerate(shots_of(line) if line.under == FEW_SHOT else ()):
        new = results.outcomes(line, dataset, new_of(shots)) if new_of(shots) in line.columns else {}
        for seed, outcome in results.outcomes(line, dataset, shots).items():
            if outcome.accuracy_pct is None:
                continue
            labels = None if known == "" else int(shots) * known + _of_choice(outcome)
            facts = {"labels": labels, "accuracy_pct": outcome.accuracy_pct}
            facts["new_accuracy_pct"] = new[seed].accuracy_pct if seed in new else None
            texts = ["" if facts.get(key) is None else facts[key] for key in _OF_ROUND]
            yield [dataset, line.panel, FEW_SHOT, seed, number, known, *texts]


Values = dict[str, "list[float] | None"]  # by column, a number for each seed
UNRANKED = ("labels", "classes", "balance")
ABOUT = (
    "Rows: what chose the images that were labelled, +pcb balanced by PCB; few-shot: as many shots as labels a class. "
    "Columns, after the last round: accuracy; area, under the curve of accuracy over labels (trapezoid, divided by "
    "their range), of the base classes where there are new ones; labels, how many were asked for, with those of "
    "validation images that chose; classes with a label; balance, the entropy of the labels over its largest value. "
    "All but labels are in percent."
)


def _columns(experiment: Experiment) -> tuple[str, ...]:
    halves = isinstance(experiment.added, Rounds) and experiment.added.base2new
    return (*(("base", "new", "H") if halves else (RUN,)), "area", *UNRANKED)


def _known(numbers: Any) -> list[float] | None:
    """The numbers of all seeds; None if one is missing."""
    found = [float(number) for number in numbers]
    return None if not found or np.isnan(found).any() else found


def _values(results: Results, line: Line, dataset: str) -> Values:
    """What a line's table row has on a data set, seed by seed; H follows from base and new later."""
    series = series_of(results, line, dataset)
    if series is None:
        zero = {column: _accuracies(results, line, dataset, column) for column in line.columns if not line.under}
        return {"accuracy": zero.get("0"), "new": zero.get(new_of("0"))}
    last = {name: _known(getattr(series, name)[:, -1]) for name in ("labels", "accuracy", "new", "covered", "balance")}
    return {**last, "classes": last["covered"], "area": _known(series.area())}


def _accuracies(results: Results, line: Line, dataset: str, column: str) -> list[float] | None:
    """Accuracies of all seeds in percent; None if there is no mean of them."""
    found = [one.accuracy_pct for one in results.runs(line, dataset, column) or ()]
    return _known(found) if None not in found else None


def h_cell(base: Sequence[float] | None, new: Sequence[float] | None) -> Cell | None:
    """H of the mean base and mean new accuracy, as papers print it; its deviation is that of the seeds' own H."""
    if base is None or new is None:
        return None
    own = [harmonic_mean(b, n) for b, n in zip(base, new)]
    mean = harmonic_mean(float(np.mean(base)), float(np.mean(new)))
    return Cell(mean, float(np.std(own)) if len(own) > 1 else None)


def _cells(values: Values, columns: Sequence[str]) -> tuple[Cell | None, ...]:
    base, new = values.get("accuracy"), values.get("new")
    own: dict[str, Cell | None] = {"base": cell_of(base), "H": h_cell(base, new)}
    return tuple(own[name] if name in own else cell_of(values.get(name)) for name in columns)


def _average(of_datasets: Sequence[Values]) -> Values:
    names = dict.fromkeys(name for values in of_datasets for name in values)
    return {name: average_over([values.get(name) for values in of_datasets]) for name in names}


def _details(experiment: Experiment, results: Results, dataset: str) -> tuple[Section, ...]:
    """Tables with a column for each round, for the lines that have numbers."""
    found = [(line, one) for line in results.lines if (one := series_of(results, line, dataset)) is not None]
    rounds = tuple(f"round {number}" for number in range(len(experiment.shots)))
    halves = isinstance(experiment.added, Rounds) and experiment.added.base2new
    wanted = {"accuracy": "accuracy" if not halves else "base accuracy", "new": "new accuracy"}
    wanted.update({"covered": "classes with a label", "balance": "label balance"})

    def rows(of: Callable[[Series], Any]) -> tuple[Row, ...]:
        numbers = [(line, of(series)) for line, series in found]
        return tuple(
            row_of(experiment, results, line, dataset, [cell_of(_known(values[:, at])) for at in range(len(rounds))])
            for line, values in numbers
            if values.shape[1] == len(rounds) and not np.isnan(values).all()
        )

    made = []
    for name, title in wanted.items():
        unranked = rounds if name in ("covered", "balance") else ()
        of_rounds = rows(lambda series, name=name: getattr(series, name))  # type: ignore[misc]
        if of_rounds:
            made.append(Section(f"{dataset}, {title} (%)", f"{dataset} {name}", rounds, of_rounds, "", unranked))
    return tuple(made)


def sections(experiment: Experiment, results: Results) -> list[Section]:
    """A table of the last round for each data set, and one of their average over several."""
    columns, made, by_line = _columns(experiment), [], {line.label: list[Values]() for line in results.lines}
    for dataset in results.datasets:
        for line in results.lines:
            by_line[line.label].append(_values(results, line, dataset))
        rows = tuple(
            row_of(experiment, results, line, dataset, _cells(by_line[line.label][-1], columns))
            for line in results.lines
        )
        details = _details(experiment, results, dataset)
        made.append(Section(dataset, dataset, columns, rows, images_of(results, dataset), UNRANKED, details))
    if len(results.datasets) > 1:
        title = f"average over {len(results.datasets)} data sets"
        averages = [
            {} if results.parted(line, results.datasets) else _average(by_line[line.label]) for line in results.lines
        ]
        rows = tuple(
            row_of(experiment, results, line, AVERAGE, _cells(values, columns))
            for line, values in zip(results.lines, averages)
        )
        made.append(Section(title, AVERAGE, columns, rows, "", UNRANKED))
    return made


def _runs(results: Results, line: Line, dataset: str) -> list[list[dict[str, Any]]]:
    if line.under in ("", FEW_SHOT):
        return []
    rounds = [rounds_of(outcome) for outcome in results.outcomes(line, dataset, RUN).values()]
    return [one for one in rounds if one]


def _sum(numbers: Any) -> float:
    return float(sum(number for number in numbers if number is not None))


def free_labels(results: Results) -> list[str]:
    """A line for each method and data set whose model labelled images itself."""
    lines = []
    for line in results.lines:
        for dataset in results.datasets:
            runs = _runs(results, line, dataset)
            free = _sum(one.get("free") for run in runs for one in run)
            last = [run[-1].get("wrong_free") for run in runs]
            wrong = "not known" if None in last else f"{_sum(last):.0f}"
            if free:
                lines.append(f"{line.label}, {dataset}: {free:.0f} labels in {len(runs)} runs, wrong ones: {wrong}")
    return lines


def times(results: Results) -> list[str]:
    """A line for each method and data set: the time of its rounds, over all acquisitions and seeds."""
    found: dict[str, list[float]] = {}
    for line in results.lines:
        for dataset in results.datasets:
            for run in _runs(results, line, dataset):
                seconds = _sum(one.get("elapsed_s") for one in run)
                found.setdefault(f"{line.panel}, {dataset}", []).append(seconds)
    return [f"{what}: {sum(runs):,.0f} s in all rounds of {len(runs)} runs" for what, runs in found.items()]


def notes(results: Results) -> dict[str, list[str]]:
    """What a report says below its tables, by heading."""
    return {"Labels that models gave": free_labels(results), "Time": times(results)}


def tables(results: Results) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Columns and rows of files next to the report's."""
    return {"rounds.csv": (list(COLUMNS), list(rows_of_csv(results)))}


def figures(results: Results) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """For each figure its file, and a function that draws it and returns its caption."""
    for name, kind in FIGURES.items():
        yield name, functools.partial(figure, kind, results)


# ------------------------------------------------------------------ figures


class Figure(NamedTuple):
    """What a figure shows.

    values: which numbers of Series.
    over_labels: whether over labels; else over rounds.
    axis: the name of the vertical axis.
    caption: its text.
    """

    values: str
    over_labels: bool
    axis: str
    caption: str

    def at(self, series: Series) -> Numbers:
        """The x values of a curve."""
        return series.labels.mean(axis=0) if self.over_labels else np.arange(series.labels.shape[1], dtype=float)

    def numbers(self, series: Series) -> Numbers:
        """The y values of a curve, (seeds, rounds)."""
        numbers: Numbers = getattr(series, self.values)
        return numbers

    def known(self, series: Series) -> NDArray[np.bool_]:
        """Rounds for which all seeds have a number."""
        known: NDArray[np.bool_] = ~np.isnan(self.numbers(series).mean(axis=0)) & ~np.isnan(self.at(series))
        return known


_SAME = "Thick lines with full markers: with PCB."
FIGURES = {
    "rounds.png": Figure(
        "accuracy",
        True,
        "accuracy (%)",
        "Accuracy over the labels asked for, means over seeds, of the base classes where there are new ones; dashed: "
        f"few-shot runs of the same budget; {WHISKERS}. {_SAME}",
    ),
    "rounds_new.png": Figure(
        "new", True, "accuracy of the new classes (%)", "The same of the new classes, which nothing was trained on."
    ),
    "covered.png": Figure(
        "covered", False, "classes with a label (%)", "Classes that have a label, by round. " + _SAME
    ),
    "balance.png": Figure(
        "balance",
        False,
        "label balance (%)",
        "Entropy of the labels over its largest value, by round: 100% is as many labels for each class. " + _SAME,
    ),
}


def figure(kind: Figure, results: Results, path: Path) -> str:
    """Curves over labels or rounds: a panel for each data set and method, a column for each method."""
    found: dict[tuple[str, str], dict[Line, Series]] = {}
    for dataset in results.datasets:
        for line in results.lines:
            series = series_of(results, line, dataset)
            if series is not None and kind.known(series).any():
                found.setdefault((dataset, line.panel), {})[line] = series
    found = {place: lines for place, lines in found.items() if any(line.under != FEW_SHOT for line in lines)}
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    titles = [f"{method}, {dataset}" for dataset, method in drawn]
    with panels(path, titles) as grid:
        for axes, (dataset, _), lines in zip(grid, drawn, drawn.values()):
            _rounds(axes, kind, results, dataset, lines)
        grid[0].figure.supxlabel("labels asked for" if kind.over_labels else "round")
        grid[0].figure.supylabel(kind.axis)
    return kind.caption + first_of(len(drawn), len(found))


def _rounds(axes: Axes, kind: Figure, results: Results, dataset: str, lines: Mapping[Line, Series]) -> None:
    zero_shot = [line for line in results.lines if not line.trains and kind.values in ("accuracy", "new")]
    for line, style in zip(zero_shot, (":", "-.") * len(zero_shot)):
        values = _accuracies(results, line, dataset, line.columns[0 if kind.values == "accuracy" else -1])
        if values is not None:
            axes.axhline(float(np.mean(values)), color="0.55", ls=style, lw=1.4, label=name_of(line.label))
    methods = [method_of(line.under) for line in results.lines if line.under not in ("", FEW_SHOT)]
    known = list(dict.fromkeys(methods))
    for line, series in lines.items():
        there = kind.known(series)
        of_seeds = kind.numbers(series)[:, there]
        means, stds = of_seeds.mean(axis=0), of_seeds.std(axis=0)
        axes.errorbar(kind.at(series)[there], means, yerr=stds, **_of_acquisition(line, known))
    axes.locator_params(axis="x", integer=True)


def _of_acquisition(line: Line, known: list[str]) -> dict[str, Any]:
    """How a curve is drawn: a colour for each acquisition, strong with PCB; the few-shot curve black and dashed."""
    if line.under == FEW_SHOT:
        return {"color": "0.1", "ls": "--", "lw": 1.5, "marker": "x", "ms": 4, "label": FEW_SHOT, "zorder": 3}
    own = look(known.index(method_of(line.under)))
    strong = method_of(line.under) != line.under
    face, width, above = (own["color"], 2.0, 2.0) if strong else ("white", 1.1, 2.5)  # where equal, both are seen
    return {**own, "label": name_of(line.under), "mfc": face, "lw": width, "zorder": above}
