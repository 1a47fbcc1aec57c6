"""The report of active learning: labels, accuracy, classes with a label and label balance, by seed and round.

Few-shot runs with the same number of labels are reported in the same way, with a round for each number of shots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from modprompt.experiments.plan.experiment import FEW_SHOT_RUNS, has_pcb, without_pcb
from modprompt.experiments.plan.protocols import ACCURACY, new_column
from modprompt.experiments.reporting.figures import MOST_PANELS, WHISKERS, panels_left_out
from modprompt.experiments.reporting.runs import Runs
from modprompt.experiments.reporting.tables import (
    AVERAGE,
    Means,
    Table,
    about_images,
    make_table,
    mean_and_h,
    row_of_means,
    titles_of,
)
from modprompt.io.figures import look, panels, short_name
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_LOG_FILES = (
    "output folders of other codebases are not supported with protocol active, because their log files do not contain "
    "the labels of the rounds."
)
FILE_NAME = "rounds.csv"
COLUMNS = (
    "dataset", "method", "acquisition", "seed", "round", "classes", "picked", "free", "asked", "labels", "images",
    "accuracy_pct", "new_accuracy_pct", "classes_covered", "balance", "wrong_free", "picks_hash", "prompts_hash",
    "elapsed_s",
)  # fmt: skip
_UNRANKED = ("labels", "classes", "balance")
ABOUT = (
    "Each row is an acquisition function. Rows with +pcb balance the selected images with PCB. A few-shot row has as "
    "many shots as there are labels per class. The columns show the state after the last round: accuracy is the "
    "accuracy on the test images; area is the area under the curve of accuracy over labels (trapezoid rule, divided by "
    "the range of labels, base classes only if new classes are tested); labels is the number of requested labels, "
    "including labels of validation images used for selection; classes is the share of classes with a label; balance "
    "is the entropy of the labels divided by its maximum. All columns except labels are in percent."
)
_VALUES = ("labels", "accuracy", "new", "classes", "balance")  # the numbers of a round


def frame_of_rounds(runs: Runs) -> pd.DataFrame:
    """Return a row for each finished run and round, with the columns `label` and COLUMNS."""
    rows = []
    for dataset in runs.datasets:
        records = {
            (run.method, run.seed): (run.result or {}).get("active") or {}
            for run in runs.select(datasets=dataset, column=ACCURACY).itertuples()
        }
        classes = next((record["classes"] for record in records.values() if record.get("classes")), None)
        for method in runs.methods.itertuples():
            facts = {"label": method.label, "dataset": dataset, "classes": classes, "acquisition": method.acquisition}
            facts["method"] = method_name(method)
            if method.acquisition == FEW_SHOT_RUNS:
                rows += [{**facts, **row} for row in _few_shot_rows(runs, method, dataset, classes)]
            elif method.acquisition:
                for seed in method.seeds:
                    record = records.get((method.label, seed), {})
                    rows += [{**number, **facts, "seed": seed} for number in record.get("rounds") or ()]
    return pd.DataFrame(rows, columns=["label", *COLUMNS], dtype=object)  # whole numbers stay whole


def method_name(method: Any) -> str:
    """Return the name of a method without its acquisition function."""
    return str(method.label).removesuffix(f" {method.acquisition}") if method.acquisition else str(method.label)


def _few_shot_rows(runs: Runs, method: Any, dataset: str, classes: int | None) -> Iterator[dict[str, Any]]:
    for number, shots in enumerate(column for column in method.columns if column.isdigit()):
        new = runs.select(method.label, dataset, new_column(shots)).set_index("seed")["accuracy_pct"]
        for run in runs.select(method.label, dataset, shots).itertuples():
            of_selection = int((run.result or {}).get("labels_of_choice") or 0)
            yield {
                "seed": run.seed,
                "round": number,
                "labels": None if classes is None else int(shots) * classes + of_selection,
                "accuracy_pct": run.accuracy_pct,
                "new_accuracy_pct": new.get(run.seed),
            }


def csv(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the content of rounds.csv, of a frame of rounds; unknown cells are empty."""
    frame = frame[(frame["acquisition"] != FEW_SHOT_RUNS) | frame["accuracy_pct"].notna()]
    return frame[[*COLUMNS]].map(_cell)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    return "" if value is None or pd.isna(value) else value


# ---------------------------------------------------------------------- tables


def curves(runs: Runs, frame: pd.DataFrame, label: str, dataset: str) -> dict[str, pd.DataFrame]:
    """Return the numbers _VALUES of a method, each as a frame (seeds, rounds), in percent except the labels.

    The result is empty if no run has finished or if the runs cannot be averaged.
    """
    rows = frame[(frame["label"] == label) & (frame["dataset"] == dataset)]
    if rows.empty or runs.mixture(label, [dataset]):
        return {}
    numbers = rows[["seed", "round"]].assign(
        labels=rows["labels"].astype(float),
        accuracy=rows["accuracy_pct"].astype(float),
        new=rows["new_accuracy_pct"].astype(float),
        classes=100 * rows["classes_covered"].astype(float) / rows["classes"].astype(float),
        balance=100 * rows["balance"].astype(float),
    )
    wide = numbers.pivot(index="seed", columns="round").reindex(index=list(runs.methods.at[label, "seeds"]))
    if runs.methods.at[label, "acquisition"] == FEW_SHOT_RUNS and wide["accuracy"].isna().all(axis=None):
        return {}
    return {name: wide[name] for name in _VALUES}


def area_pct(labels: Sequence[float], accuracy: Sequence[float]) -> float:
    """Return the area under a curve (trapezoid rule), divided by the range of labels, which is a mean accuracy.

    Args:
        labels: numbers of requested labels, ascending.
        accuracy: as many accuracies in percent.

    Returns:
        The area in percent; NaN for fewer than two rounds, or if a number is NaN.
    """
    x, y = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    span = x[-1] - x[0] if len(x) else 0.0
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / span) if span > 0 else float("nan")


def _last_round(runs: Runs, frame: pd.DataFrame, label: str, dataset: str) -> pd.DataFrame:
    """Return the numbers of a method after the last round, with a row for each seed."""
    values = curves(runs, frame, label, dataset)
    if not values:
        return zero_shot(runs, label, dataset)
    last = pd.DataFrame({name: numbers.iloc[:, -1] for name, numbers in values.items()})
    areas = map(area_pct, values["labels"].to_numpy(), values["accuracy"].to_numpy())
    return last.assign(area=list(areas))


def zero_shot(runs: Runs, label: str, dataset: str) -> pd.DataFrame:
    """Return the accuracies of a zero-shot method in percent, with a row for each seed."""
    columns = {}
    for name, column in (("accuracy", "0"), ("new", new_column("0"))):
        rows = runs.complete(label, dataset, column)
        columns[name] = pd.Series(dtype=float) if rows is None else rows.set_index("seed")["accuracy_pct"]
    return pd.DataFrame(columns)


def tables(runs: Runs) -> tuple[Means, list[Table]]:
    """Return the means after the last round, and a table of each data set and of the average over several."""
    experiment, frame = runs.experiment, frame_of_rounds(runs)
    halves = experiment.rounds is not None and experiment.rounds.base2new
    columns = (*(("base", "new", "H") if halves else (ACCURACY,)), "area", *_UNRANKED)
    rows = {
        (label, dataset): _last_round(runs, frame, label, dataset)
        for label in runs.methods["label"]
        for dataset in runs.datasets
    }
    numbers = pd.concat(rows, names=["method", "dataset", "seed"])
    numbers = numbers.rename(columns={"accuracy": "base"} if halves else {})
    by_seed = numbers.reindex(columns=[name for name in columns if name != "H"]).unstack("dataset")
    by_seed = by_seed.swaplevel(axis=1).reindex(index=runs.seeds())
    means = mean_and_h(runs, by_seed, runs.datasets, len(runs.datasets) > 1)
    made = []
    for place, title in titles_of(runs).items():
        cells = [(place, column) for column in columns]
        of_methods = [row_of_means(runs, means, label, place, cells) for label in runs.methods["label"]]
        about = "" if place == AVERAGE else about_images(runs, [place])
        made.append(make_table(title, place, columns, of_methods, about=about, unranked=_UNRANKED))
    return means, made


def free_labels(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each method and data set with labels that models gave, and how many of them are wrong."""
    texts = []
    for (label, dataset), rows in frame.groupby(["label", "dataset"], sort=False):
        if rows["free"].astype(float).sum():
            wrong = rows.loc[rows["round"] == rows["round"].max(), "wrong_free"].astype(float)
            count = "an unknown number" if wrong.isna().any() else f"{wrong.sum():.0f}"
            number = f"{len(wrong)} run{'' if len(wrong) == 1 else 's'}"
            free = f"{rows['free'].astype(float).sum():.0f}"
            texts.append(f"{label}, {dataset}: models gave {free} labels in {number}, {count} of them wrong")
    return texts


# ---------------------------------------------------------------------- figures


class Figure(NamedTuple):
    """A figure: the drawn numbers of `curves`, whether over labels or rounds, the vertical axis, and the caption."""

    values: str
    over_labels: bool
    axis: str
    caption: str


_BOLD = "Thick lines with filled markers show acquisition functions with PCB."
FIGURES = {
    "rounds.png": Figure(
        "accuracy",
        True,
        "accuracy (%)",
        "Accuracy over the number of requested labels (mean over seeds; base classes only if new classes are tested). "
        f"Dashed lines show few-shot runs with the same number of labels; {WHISKERS}. {_BOLD}",
    ),
    "rounds_new.png": Figure(
        "new",
        True,
        "accuracy of the new classes (%)",
        "Accuracy on the new classes, which were not used for training, over the number of requested labels.",
    ),
    "covered.png": Figure(
        "classes", False, "classes with a label (%)", f"Share of classes with at least one label, by round. {_BOLD}"
    ),
    "balance.png": Figure(
        "balance",
        False,
        "label balance (%)",
        "Entropy of the labels divided by its maximum, by round. At 100%, all classes have the same number of labels. "
        f"{_BOLD}",
    ),
}


def draw(figure: Figure, runs: Runs, frame: pd.DataFrame, path: Path) -> str:
    """Draw a figure with a panel for each data set and method, and a curve for each acquisition function.

    Returns the caption, or "" if no run has finished.
    """
    places = dict[tuple[str, str], dict[str, pd.DataFrame]]()
    for dataset in runs.datasets:
        for method in runs.methods.itertuples():
            values = curves(runs, frame, method.label, dataset)
            if not values:
                continue
            numbers, labels = values[figure.values], values["labels"].mean(skipna=False)
            known = (numbers.notna().all() & labels.notna()).to_numpy()
            numbers = numbers.set_axis(labels, axis=1) if figure.over_labels else numbers
            if known.any():
                places.setdefault((dataset, method_name(method)), {})[method.label] = numbers.loc[:, known]
    acquisitions = runs.methods["acquisition"]
    places = {
        place: lines for place, lines in places.items() if any(acquisitions[label] != FEW_SHOT_RUNS for label in lines)
    }
    drawn = list(places.items())[:MOST_PANELS]
    if not drawn:
        return ""
    with panels(path, [f"{method}, {dataset}" for (dataset, method), _ in drawn]) as grid:
        for axes, ((dataset, _), lines) in zip(grid, drawn):
            _draw_panel(axes, figure, runs, dataset, lines)
        grid[0].figure.supxlabel("requested labels" if figure.over_labels else "round")
        grid[0].figure.supylabel(figure.axis)
    return figure.caption + panels_left_out(len(drawn), len(places))


def _draw_panel(axes: Axes, figure: Figure, runs: Runs, dataset: str, lines: Mapping[str, pd.DataFrame]) -> None:
    """Draw a colour for each acquisition function, thick lines with PCB, dashed few-shot lines and zero-shot lines."""
    untrained = runs.methods["label"][~runs.methods["trains"]]
    for number, label in enumerate(untrained):
        values = zero_shot(runs, label, dataset).get(figure.values, pd.Series(dtype=float))
        if len(values) and values.notna().all():
            dashes = (":", "-.")[number % 2]
            axes.axhline(float(values.mean()), color="0.55", ls=dashes, lw=1.4, label=short_name(label))
    acquisitions = runs.methods["acquisition"]
    names = list(dict.fromkeys(without_pcb(name) for name in acquisitions if name not in ("", FEW_SHOT_RUNS)))
    for label, numbers in lines.items():
        acquisition = acquisitions[label]
        style: dict[str, Any] = {"color": "0.1", "ls": "--", "lw": 1.5, "marker": "x", "ms": 4, "zorder": 3}
        if acquisition != FEW_SHOT_RUNS:
            is_balanced = has_pcb(acquisition)
            style = dict(look(names.index(without_pcb(acquisition))))
            # thin lines on top of thick ones, so that both are visible if they are equal
            style |= {"lw": 2.0, "zorder": 2.0} if is_balanced else {"mfc": "white", "lw": 1.1, "zorder": 2.5}
        axes.errorbar(
            numbers.columns.to_numpy(dtype=float),
            numbers.mean().to_numpy(),
            yerr=numbers.std(ddof=0).to_numpy(),
            label=short_name(acquisition),
            **style,
        )
    axes.locator_params(axis="x", integer=True)
