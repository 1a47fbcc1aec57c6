"""The tables of a report of protocol active: the last round, and each round; and what is said beside them."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.protocols import new_of
from modprompt.experiments.plan.rounds import FEW_SHOT
from modprompt.experiments.reporting.results import UNTESTED, Line, Results
from modprompt.experiments.reporting.rounds import RUN, Series, rounds_of, series_of
from modprompt.experiments.reporting.table import (
    AVERAGE,
    Cell,
    Row,
    Section,
    average_over,
    cell_of,
    h_cell,
    images_of,
    row_of,
)

Values = dict[str, "list[float] | None"]  # by column, a number for each seed
UNRANKED = ("labels", "classes", "balance")
ABOUT = (
    "Rows: what chose the images that were labelled, +pcb balanced by PCB; few-shot: as many shots as labels a class. "
    "Columns, behind the last round: accuracy; area, under the curve of accuracy over labels (trapezoid, divided by "
    "their range), of the base classes where there are new ones; labels, how many were asked for, with those of "
    "validation images that chose; classes with a label; balance, the entropy of the labels over its largest value. "
    "All but labels are in percent."
)


def _columns(experiment: Experiment) -> tuple[str, ...]:
    halves = experiment.active is not None and experiment.active.base2new
    return (*(("base", "new", "H") if halves else (RUN,)), "area", *UNRANKED)


def _known(numbers: Any) -> list[float] | None:
    """The numbers of all seeds; None if one is lacking."""
    found = [float(number) for number in numbers]
    return None if not found or np.isnan(found).any() else found


def _values(results: Results, line: Line, dataset: str) -> Values:
    """What a line's table row has on a data set, seed by seed; H is made of base and new later."""
    series = series_of(results, line, dataset)
    if series is None:
        zero = {column: results.values(line, dataset, column) for column in line.columns if not line.acquisition}
        return {"accuracy": zero.get("0"), "new": zero.get(new_of("0"))}
    last = {name: _known(getattr(series, name)[:, -1]) for name in ("labels", "accuracy", "new", "covered", "balance")}
    return {**last, "classes": last["covered"], "area": _known(series.area())}


def _cells(values: Values, columns: Sequence[str]) -> tuple[Cell | None, ...]:
    base, new = values.get("accuracy"), values.get("new")
    own: dict[str, Cell | None] = {"base": cell_of(base), "H": h_cell(base, new)}
    return tuple(own[name] if name in own else cell_of(values.get(name)) for name in columns)


def _average(of_datasets: Sequence[Values]) -> Values:
    names = dict.fromkeys(name for values in of_datasets for name in values)
    return {name: average_over([values.get(name) for values in of_datasets]) for name in names}


def _details(experiment: Experiment, results: Results, dataset: str) -> tuple[Section, ...]:
    """Tables with a column for each round, of the lines that have numbers there."""
    found = [(line, one) for line in results.lines if (one := series_of(results, line, dataset)) is not None]
    rounds = tuple(f"round {number}" for number in range(experiment.active.number if experiment.active else 0))
    halves = experiment.active is not None and experiment.active.base2new
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


def untested(results: Results) -> list[str]:
    """A line for each method and data set whose finished runs have no accuracy, for want of test images."""
    found: dict[str, list[str]] = {}
    for line, dataset, _, seed, outcome in results.all():
        if outcome.reason == UNTESTED:
            found.setdefault(f"{line.label}, {dataset}", []).append(str(seed))
    return [f"{what}: seed {', '.join(seeds)}: {UNTESTED}" for what, seeds in found.items()]


def _runs(results: Results, line: Line, dataset: str) -> list[list[dict[str, Any]]]:
    if line.acquisition in ("", FEW_SHOT):
        return []
    rounds = [rounds_of(outcome) for outcome in results.outcomes(line, dataset, RUN).values()]
    return [one for one in rounds if one]


def _sum(numbers: Any) -> float:
    return float(sum(number for number in numbers if isinstance(number, (int, float))))


def free_labels(results: Results) -> list[str]:
    """A line for each method and data set whose model labelled images by itself, for nothing."""
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
    """A line for each method and data set: what its rounds took, all acquisitions and seeds together."""
    found: dict[str, list[float]] = {}
    for line in results.lines:
        for dataset in results.datasets:
            for run in _runs(results, line, dataset):
                seconds = _sum(one.get("elapsed_s") for one in run)
                found.setdefault(f"{line.panel}, {dataset}", []).append(seconds)
    return [f"{what}: {sum(runs):,.0f} s in all rounds of {len(runs)} runs" for what, runs in found.items()]
