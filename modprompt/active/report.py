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
    Section,
    average_over,
    cell_of,
    images_of,
    row_of,
)
from modprompt.io.base_new import harmonic_mean
from modprompt.io.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NO_TREES = "the log files of rounds do not say their labels: protocol active reads no other trees"
RUN = "accuracy"  # the column of runs with rounds
COLUMNS = (
    "dataset", "method", "acquisition", "seed", "round", "classes", "picked", "free", "asked", "labels", "images",
    "accuracy_pct", "new_accuracy_pct", "classes_covered", "balance", "wrong_free", "picks_hash", "prompts_hash",
    "elapsed_s",
)  # fmt: skip
UNRANKED = ("labels", "classes", "balance")
ABOUT = (
    "Rows: what chose the images that were labelled, +pcb balanced by PCB; few-shot: as many shots as labels a class. "
    "Columns, after the last round: accuracy; area, under the curve of accuracy over labels (trapezoid, divided by "
    "their range), of the base classes where there are new ones; labels, how many were asked for, with those of "
    "validation images that chose; classes with a label; balance, the entropy of the labels over its largest value. "
    "All but labels are in percent."
)
_OF_ROUNDS = ("labels", "accuracy", "new", "classes", "balance")
Seeds = list[float] | None  # a number for each seed; None if one is missing
Values = dict[str, Seeds]


def rows(results: Results) -> Iterator[dict[str, Any]]:
    """What is known of each finished run and round, by COLUMNS and "line"; few-shot runs too, by their shots."""
    for dataset in results.datasets:
        runs = [_active(outcome) for line in results.lines for outcome in results.outcomes(line, dataset, RUN).values()]
        classes = next((run["classes"] for run in runs if run.get("classes")), None)
        for line in results.lines:
            facts = {"line": line.label, "dataset": dataset, "method": line.panel, "classes": classes}
            for row in (_few_shot if line.under == FEW_SHOT else _rounds)(results, line, dataset, classes):
                yield {**facts, "acquisition": line.under, **row}


def _active(outcome: Outcome) -> dict[str, Any]:
    return (outcome.result or {}).get("active") or {}


def _rounds(results: Results, line: Line, dataset: str, classes: int | None) -> Iterator[dict[str, Any]]:
    for seed, outcome in results.outcomes(line, dataset, RUN).items() if line.under else ():
        for one in _active(outcome).get("rounds") or ():
            yield {key: one.get(key) for key in COLUMNS[4:] if key != "classes"} | {"seed": seed}


def _few_shot(results: Results, line: Line, dataset: str, classes: int | None) -> Iterator[dict[str, Any]]:
    for number, shots in enumerate(column for column in line.columns if column.isdigit()):
        new = results.outcomes(line, dataset, new_of(shots)) if new_of(shots) in line.columns else {}
        for seed, outcome in results.outcomes(line, dataset, shots).items():
            of_choice = int((outcome.result or {}).get("labels_of_choice") or 0)
            yield {
                "seed": seed,
                "round": number,
                "labels": None if classes is None else int(shots) * classes + of_choice,
                "accuracy_pct": outcome.accuracy_pct,
                "new_accuracy_pct": new[seed].accuracy_pct if seed in new else None,
            }


def tables(results: Results) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Columns and rows of files next to the report's; what is not known is empty."""
    finished = (row for row in rows(results) if row["acquisition"] != FEW_SHOT or row["accuracy_pct"] is not None)
    cells = ([row.get(name) for name in COLUMNS] for row in finished)
    texts = [["" if x is None else one_line(x) if isinstance(x, str) else x for x in row] for row in cells]
    return {"rounds.csv": (list(COLUMNS), texts)}


def long_table(results: Results) -> pd.DataFrame:
    """`rows` with numbers in percent named as in the report's tables: accuracy, new, classes, balance."""
    import pandas as pd  # late: few commands need it

    table = pd.DataFrame(rows(results), columns=["line", *COLUMNS])
    numbers = [name for name in COLUMNS[3:] if not name.endswith("hash")]
    table = table.astype(dict.fromkeys(numbers, float))
    table["classes"] = 100 * table["classes_covered"] / table["classes"]
    table["balance"] *= 100
    return table.rename(columns={"accuracy_pct": "accuracy", "new_accuracy_pct": "new"})


def curves(results: Results, table: pd.DataFrame, line: Line, dataset: str) -> dict[str, np.ndarray]:
    """The numbers of a line, (seeds, rounds) each; nan where there is none, no rounds where there is no mean."""
    table = table[(table["line"] == line.label) & (table["dataset"] == dataset)]
    if results.parted(line, [dataset]):
        table = table[:0]
    wide = table.pivot(index="seed", columns="round", values=list(_OF_ROUNDS)).reindex(index=list(line.seeds))
    found = {name: wide[name].to_numpy(dtype=float) for name in _OF_ROUNDS} if len(table) else {}
    return {} if line.under == FEW_SHOT and found and np.isnan(found["accuracy"]).all() else found


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


def _known(numbers: Any) -> Seeds:
    values = [float("nan") if number is None else float(number) for number in numbers]
    return None if not values or np.isnan(values).any() else values


def _of_zero_shot(results: Results, line: Line, dataset: str) -> Values:
    """The accuracies of a line that trains nothing, in percent."""
    runs = {
        name: results.runs(line, dataset, column) or () for name, column in (("accuracy", "0"), ("new", new_of("0")))
    }
    return {name: _known(one.accuracy_pct for one in found) for name, found in runs.items()}


def _cells(values: Values, columns: Sequence[str]) -> list[Cell | None]:
    """A row of a table: H is that of the mean base and mean new accuracy, its deviation that of the seeds' own H."""
    cells = {name: cell_of(own) for name, own in values.items()}
    base, new = values.get("accuracy"), values.get("new")
    cells["base"] = cell_of(base)
    if base is not None and new is not None:
        own = cell_of([harmonic_mean(b, n) for b, n in zip(base, new)])
        cells["H"] = own and own._replace(mean=harmonic_mean(float(np.mean(base)), float(np.mean(new))))
    return [cells.get(name) for name in columns]


def sections(experiment: Experiment, results: Results) -> list[Section]:
    """A table of the last round for each data set, and one of their average over several."""
    halves = isinstance(experiment.added, Rounds) and experiment.added.base2new
    columns = (*(("base", "new", "H") if halves else (RUN,)), "area", *UNRANKED)
    table, made, of_lines = long_table(results), [], {line: list[Values]() for line in results.lines}

    def add(title: str, place: str, about: str, values: Mapping[Line, Values]) -> None:
        own = (row_of(experiment, results, line, place, _cells(found, columns)) for line, found in values.items())
        made.append(Section(title, place, columns, tuple(own), about, UNRANKED))

    for dataset in results.datasets:
        for line, values in of_lines.items():
            values.append(_last_round(results, table, line, dataset))
        add(dataset, dataset, images_of(results, dataset), {line: values[-1] for line, values in of_lines.items()})
    if len(made) > 1:
        of_lines = {line: [] if results.parted(line, results.datasets) else parts for line, parts in of_lines.items()}
        add(
            f"average over {len(made)} data sets", AVERAGE, "", {line: _mean(parts) for line, parts in of_lines.items()}
        )
    return made


def _last_round(results: Results, table: pd.DataFrame, line: Line, dataset: str) -> Values:
    found = curves(results, table, line, dataset)
    if not found:
        return _of_zero_shot(results, line, dataset)
    area = _known(map(area_pct, found["labels"], found["accuracy"]))
    return {**{name: _known(numbers[:, -1]) for name, numbers in found.items()}, "area": area}


def _mean(of_datasets: Sequence[Values]) -> Values:
    """The mean over data sets, seed by seed."""
    names = dict.fromkeys(name for values in of_datasets for name in values)
    return {name: average_over([values.get(name) for values in of_datasets]) for name in names}


def notes(results: Results) -> dict[str, list[str]]:
    """What a report says below its tables, by heading: labels that models gave."""
    table, free = long_table(results), []
    for (label, dataset), own in table[table["free"] > 0].groupby(["line", "dataset"], sort=False):
        own = table[(table["line"] == label) & (table["dataset"] == dataset)]
        wrong = own.loc[own["round"] == own["round"].max(), "wrong_free"]
        said = "not known" if wrong.isna().any() else f"{wrong.sum():.0f}"
        free.append(f"{label}, {dataset}: {own['free'].sum():.0f} labels in {len(wrong)} runs, wrong ones: {said}")
    return {"Labels that models gave": free}


# ------------------------------------------------------------------ figures


class Figure(NamedTuple):
    """A figure: which numbers of `curves`, whether over labels (else over rounds), its vertical axis, its caption."""

    values: str
    over_labels: bool
    axis: str
    caption: str


_STRONG = "Thick lines with full markers: with PCB."
_ACCURACY = (
    "Accuracy over the labels asked for, means over seeds, of the base classes where there are new ones; dashed: "
    f"few-shot runs of the same budget; {WHISKERS}. {_STRONG}"
)
_COVERED = f"Classes that have a label, by round. {_STRONG}"
_BALANCE = f"Entropy of the labels over its largest value, by round: 100% is as many labels for each class. {_STRONG}"
_NEW = "The same of the new classes, which nothing was trained on."
FIGURES = {
    "rounds.png": Figure("accuracy", True, "accuracy (%)", _ACCURACY),
    "rounds_new.png": Figure("new", True, "accuracy of the new classes (%)", _NEW),
    "covered.png": Figure("classes", False, "classes with a label (%)", _COVERED),
    "balance.png": Figure("balance", False, "label balance (%)", _BALANCE),
}


def figures(results: Results) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """For each figure its file, and a function that draws it and returns its caption."""
    for name, kind in FIGURES.items():
        yield name, functools.partial(figure, kind, results)


def figure(kind: Figure, results: Results, path: Path) -> str:
    """Curves over labels or rounds: a panel for each data set and method, a curve for each acquisition."""
    table, places = long_table(results), dict[tuple[str, str], dict[Line, tuple[np.ndarray, np.ndarray]]]()
    for dataset in results.datasets:
        for line in results.lines:
            found = curves(results, table, line, dataset)
            if found:
                x, y = found["labels"].mean(axis=0), found[kind.values]
                known = ~np.isnan(x + y.mean(axis=0))
                x = x if kind.over_labels else np.arange(len(x), dtype=float)
                if known.any():
                    places.setdefault((dataset, line.panel), {})[line] = x[known], y[:, known]
    places = {place: lines for place, lines in places.items() if any(line.under != FEW_SHOT for line in lines)}
    drawn = list(places.items())[:MOST_PANELS]
    if not drawn:
        return ""
    with panels(path, [f"{method}, {dataset}" for (dataset, method), _ in drawn]) as grid:
        for axes, ((dataset, _), lines) in zip(grid, drawn):
            _draw(axes, kind, results, dataset, lines)
        grid[0].figure.supxlabel("labels asked for" if kind.over_labels else "round")
        grid[0].figure.supylabel(kind.axis)
    return kind.caption + first_of(len(drawn), len(places))


def _draw(
    axes: Axes, kind: Figure, results: Results, dataset: str, lines: Mapping[Line, tuple[np.ndarray, np.ndarray]]
) -> None:
    """A panel: a colour for each acquisition, strong with PCB; few-shot black and dashed; zero-shot a level line."""
    for number, line in enumerate(line for line in results.lines if not line.trains):
        values = _of_zero_shot(results, line, dataset).get(kind.values)
        if values is not None:
            style = (":", "-.")[number % 2]
            axes.axhline(float(np.mean(values)), color="0.55", ls=style, lw=1.4, label=name_of(line.label))
    known = list(dict.fromkeys(method_of(one.under) for one in results.lines if one.under not in ("", FEW_SHOT)))
    for line, (x, y) in lines.items():
        how: dict[str, Any] = {"color": "0.1", "ls": "--", "lw": 1.5, "marker": "x", "ms": 4, "zorder": 3}
        if line.under != FEW_SHOT:
            how = dict(look(known.index(method_of(line.under))))
            strong = method_of(line.under) != line.under  # where curves are equal, both are seen
            how |= {"lw": 2.0, "zorder": 2.0} if strong else {"mfc": "white", "lw": 1.1, "zorder": 2.5}
        axes.errorbar(x, y.mean(axis=0), yerr=y.std(axis=0), label=name_of(line.under), **how)
    axes.locator_params(axis="x", integer=True)
