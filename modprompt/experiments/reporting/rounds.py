"""Report on rounds, by seed and round: labels, accuracy, classes covered, how even the labels are.

Few-shot runs of the same budget are reported likewise, a round for each number of shots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.rounds import FEW_SHOT, Rounds, method_of, new_of
from modprompt.experiments.reporting.figures import MOST_PANELS, WHISKERS, first_of
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.tables import AVERAGE, Cell, Section, cell_of, images_of, row_of
from modprompt.io.base_new import harmonic_mean
from modprompt.io.figures import look, panels, short_name
from modprompt.io.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NO_TREES = (
    "output folders of other codebases are not supported with protocol active, because their log files do not contain "
    "the labels of the rounds."
)
RUN = "accuracy"  # the column of runs with rounds
COLUMNS = (
    "dataset", "method", "acquisition", "seed", "round", "classes", "picked", "free", "asked", "labels", "images",
    "accuracy_pct", "new_accuracy_pct", "classes_covered", "balance", "wrong_free", "picks_hash", "prompts_hash",
    "elapsed_s",
)  # fmt: skip
UNRANKED = ("labels", "classes", "balance")
ABOUT = (
    "Each row is an acquisition function. Rows with +pcb balance the selected images with PCB. A few-shot row has as "
    "many shots as there are labels per class. The columns show the state after the last round: accuracy is the "
    "accuracy on the test images; area is the area under the curve of accuracy over labels (trapezoid rule, divided by "
    "the range of labels, base classes only if new classes are tested); labels is the number of requested labels, "
    "including labels of validation images used for selection; classes is the share of classes with a label; balance "
    "is the entropy of the labels divided by its maximum. All columns except labels are in percent."
)
_OF_ROUNDS = ("labels", "accuracy", "new", "classes", "balance")
Values = dict[str, np.ndarray]  # a number for each seed, nan where one is missing


def rows(results: Results) -> Iterator[dict[str, Any]]:
    """What is known of each finished run and round, by COLUMNS and "line"; few-shot runs too, by their shots."""
    for dataset in results.datasets:
        runs = [_active(outcome) for line in results.lines for outcome in results.outcomes(line, dataset, RUN).values()]
        classes = next((run["classes"] for run in runs if run.get("classes")), None)
        for line in results.lines:
            facts = {"line": line.label, "dataset": dataset, "method": line.panel, "acquisition": line.under}
            for row in _few_shot(results, line, dataset, classes) if line.under == FEW_SHOT else ():
                yield {**facts, "classes": classes, **row}
            for seed, outcome in results.outcomes(line, dataset, RUN).items() if line.under != FEW_SHOT else ():
                for one in _active(outcome).get("rounds") or () if line.under else ():
                    yield {**one, **facts, "classes": classes, "seed": seed}


def _active(outcome: Outcome) -> dict[str, Any]:
    return (outcome.result or {}).get("active") or {}


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
    table = table.astype({name: float for name in COLUMNS[3:] if not name.endswith("hash")})
    table["classes"] = 100 * table["classes_covered"] / table["classes"]
    table["balance"] *= 100
    return table.rename(columns={"accuracy_pct": "accuracy", "new_accuracy_pct": "new"})


def curves(results: Results, table: pd.DataFrame, line: Line, dataset: str) -> Values:
    """The numbers of a line, (seeds, rounds) each; nan where there is none, no rounds where there is no mean."""
    table = table[(table["line"] == line.label) & (table["dataset"] == dataset)]
    if not len(table) or results.parted(line, [dataset]):
        return {}
    wide = table.pivot(index="seed", columns="round", values=list(_OF_ROUNDS)).reindex(index=list(line.seeds))
    found = {name: wide[name].to_numpy(dtype=float) for name in _OF_ROUNDS}
    return {} if line.under == FEW_SHOT and np.isnan(found["accuracy"]).all() else found


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


def _last_round(results: Results, table: pd.DataFrame, line: Line, dataset: str) -> Values:
    found = curves(results, table, line, dataset)
    if not found:
        return _of_zero_shot(results, line, dataset)
    area = np.array([area_pct(*seed) for seed in zip(found["labels"], found["accuracy"])])
    return {**{name: numbers[:, -1] for name, numbers in found.items()}, "area": area}


def _of_zero_shot(results: Results, line: Line, dataset: str) -> Values:
    """The accuracies of a line that trains nothing, in percent."""
    return {
        name: np.array([one.accuracy_pct for one in results.runs(line, dataset, column) or ()], dtype=float)
        for name, column in (("accuracy", "0"), ("new", new_of("0")))
    }


def _cells(values: Values, columns: Sequence[str]) -> list[Cell | None]:
    """A row of a table: H is that of the mean base and mean new accuracy, its deviation that of the seeds' own H."""
    known = {name: own.tolist() for name, own in values.items() if len(own) and not np.isnan(own).any()}
    cells = {name: cell_of(own) for name, own in known.items()}
    cells["base"] = cells.get("accuracy")
    if "accuracy" in known and "new" in known:
        own = cell_of(list(map(harmonic_mean, known["accuracy"], known["new"])))
        cells["H"] = own and own._replace(
            mean=harmonic_mean(*(float(np.mean(known[name])) for name in ("accuracy", "new")))
        )
    return [cells.get(name) for name in columns]


def sections(experiment: Experiment, results: Results) -> list[Section]:
    """A table of the last round for each data set, and one of their average over several."""
    halves = isinstance(experiment.added, Rounds) and experiment.added.base2new
    columns = (*(("base", "new", "H") if halves else (RUN,)), "area", *UNRANKED)
    table, made = long_table(results), []

    def add(title: str, place: str, about: str, of_lines: Mapping[Line, Values]) -> None:
        own = (row_of(experiment, results, line, place, _cells(found, columns)) for line, found in of_lines.items())
        made.append(Section(title, place, columns, tuple(own), about, UNRANKED))

    whole = {
        dataset: {line: _last_round(results, table, line, dataset) for line in results.lines}
        for dataset in results.datasets
    }
    for dataset, of_lines in whole.items():
        add(dataset, dataset, images_of(results, dataset), of_lines)
    if len(whole) > 1:
        means = {line: _mean([of_lines[line] for of_lines in whole.values()]) for line in results.lines}
        means = {line: {} if results.parted(line, results.datasets) else own for line, own in means.items()}
        add(f"average over {len(whole)} data sets", AVERAGE, "", means)
    return made


def _mean(of_datasets: Sequence[Values]) -> Values:
    """The mean over data sets, seed by seed, of what all of them have."""
    names = [name for name in of_datasets[0] if len({len(values.get(name, ())) for values in of_datasets}) == 1]
    return {name: np.mean([values[name] for values in of_datasets], axis=0) for name in names}


def notes(results: Results) -> dict[str, list[str]]:
    """What a report says below its tables, by heading: labels that models gave."""
    table, free = long_table(results), []
    for (label, dataset), own in table.groupby(["line", "dataset"], sort=False):
        if own["free"].sum():
            wrong = own.loc[own["round"] == own["round"].max(), "wrong_free"]
            said = "an unknown number" if wrong.isna().any() else f"{wrong.sum():.0f}"
            runs = f"{len(wrong)} run{'' if len(wrong) == 1 else 's'}"
            free.append(
                f"{label}, {dataset}: models gave {own['free'].sum():.0f} labels in {runs}, {said} of them wrong"
            )
    return {"Labels given by models": free}


class Figure(NamedTuple):
    """A figure: which numbers of `curves`, whether over labels (else over rounds), its vertical axis, its caption."""

    values: str
    over_labels: bool
    axis: str
    caption: str


_STRONG = "Thick lines with filled markers show acquisition functions with PCB."
_ACCURACY = (
    "Accuracy over the number of requested labels (mean over seeds; base classes only if new classes are tested). "
    f"Dashed lines show few-shot runs with the same number of labels; {WHISKERS}. {_STRONG}"
)
_COVERED = f"Share of classes with at least one label, by round. {_STRONG}"
_BALANCE = (
    "Entropy of the labels divided by its maximum, by round. At 100%, all classes have the same number of labels. "
    f"{_STRONG}"
)
_NEW = "Accuracy on the new classes, which were not used for training, over the number of requested labels."
FIGURES = {
    "rounds.png": Figure("accuracy", True, "accuracy (%)", _ACCURACY),
    "rounds_new.png": Figure("new", True, "accuracy of the new classes (%)", _NEW),
    "covered.png": Figure("classes", False, "classes with a label (%)", _COVERED),
    "balance.png": Figure("balance", False, "label balance (%)", _BALANCE),
}


def figures(results: Results) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """For each figure its file, and a function that draws it and returns its caption."""
    for name, kind in FIGURES.items():
        yield name, partial(figure, kind, results)


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
        grid[0].figure.supxlabel("requested labels" if kind.over_labels else "round")
        grid[0].figure.supylabel(kind.axis)
    return kind.caption + first_of(len(drawn), len(places))


def _draw(
    axes: Axes, kind: Figure, results: Results, dataset: str, lines: Mapping[Line, tuple[np.ndarray, np.ndarray]]
) -> None:
    """A panel: a colour for each acquisition, strong with PCB; few-shot black and dashed; zero-shot a level line."""
    for number, line in enumerate(line for line in results.lines if not line.trains):
        values = _of_zero_shot(results, line, dataset).get(kind.values, np.empty(0))
        if len(values) and not np.isnan(values).any():
            style = (":", "-.")[number % 2]
            axes.axhline(float(values.mean()), color="0.55", ls=style, lw=1.4, label=short_name(line.label))
    known = list(dict.fromkeys(method_of(one.under) for one in results.lines if one.under not in ("", FEW_SHOT)))
    for line, (x, y) in lines.items():
        how: dict[str, Any] = {"color": "0.1", "ls": "--", "lw": 1.5, "marker": "x", "ms": 4, "zorder": 3}
        if line.under != FEW_SHOT:
            how = dict(look(known.index(method_of(line.under))))
            strong = method_of(line.under) != line.under  # where curves are equal, both are seen
            how |= {"lw": 2.0, "zorder": 2.0} if strong else {"mfc": "white", "lw": 1.1, "zorder": 2.5}
        axes.errorbar(x, y.mean(axis=0), yerr=y.std(axis=0), label=short_name(line.under), **how)
    axes.locator_params(axis="x", integer=True)
