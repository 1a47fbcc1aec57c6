"""Input of a report's diagnostics: the runs of a data set and column, and what their tests and trainings recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting.results import Outcome, Results, most_shots, shots_in_words
from modprompt.experiments.reporting.table import Cell, cell_of
from modprompt.io import run_files
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


TOGETHER_NAME = "base and new"  # the name of the test of all classes, which fills two columns of tables


class View(NamedTuple):
    """The finished runs of a data set and column: by method the outcomes of all its seeds; see Results.runs."""

    dataset: str
    column: str
    runs: dict[str, list[Outcome]]

    @property
    def is_trained(self) -> bool:
        """Whether there are trainings among the runs, not only tests of what was trained elsewhere."""
        return self.column not in (ALONE[1], TOGETHER_NAME)


def title(dataset: str, column: str) -> str:
    """The title of a panel of a data set and column."""
    if column == "accuracy":
        return dataset
    return f"{dataset}, {shots_in_words(column) if column.isdigit() else column}"


class Tested(NamedTuple):
    """What the tests of a method's seeds recorded, together.

    names: of the C classes, each once: a name of several classes has its label.
    confusion: (C, C) images of all seeds, rows by class, columns by predicted class.
    calibration: (bins, 3) images of all seeds, their mean confidence, their accuracy.
    wrong: the wrong images of the first seed.
    result: that seed's.
    ece_pct: the calibration error over the seeds, from their results; None if one does not have it.
    seeds: how many there are.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    calibration: Numbers
    wrong: Sequence[run_files.Wrong]
    result: dict[str, Any]
    ece_pct: Cell | None = None
    seeds: int = 1

    def accuracy_pct(self) -> dict[str, float]:
        """Accuracy of each class that has images, by its name."""
        images = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return {name: 100 * float(r) / float(n) for name, r, n in zip(self.names, right, images) if n}


class Diagnostics(NamedTuple):
    """What tests recorded, for the methods that figures show.

    views: the runs.
    tests: for each data set and column, by method.
    faults: what cannot be shown, a line each.
    """

    views: list[View]
    tests: dict[tuple[str, str], dict[str, Tested]]
    faults: list[str]


def views(experiment: Experiment, results: Results) -> list[View]:
    """The data sets and columns of a report; for shots only the most, next to methods that train nothing."""
    columns = results.columns
    if experiment.protocol == "few_shot":
        columns = (most_shots(columns) or columns[-1],)
    columns = tuple(column for column in columns if column != TOGETHER[ALONE[1]])  # one test fills both
    found = []
    for dataset in results.datasets:
        for column in columns:
            runs: dict[str, list[Outcome]] = {}
            for line in results.lines:
                asked = column if results.is_asked(line, column) else "0"
                if results.is_asked(line, asked) and asked in (column, *results.columns):
                    outcomes = results.runs(line, dataset, asked) or []
                    if outcomes and all(one.result and one.folder for one in outcomes):
                        runs[line.label] = outcomes
            if runs:
                found.append(View(dataset, TOGETHER_NAME if column == TOGETHER[ALONE[0]] else column, runs))
    return found


def tested(outcomes: Sequence[Outcome], faults: list[str]) -> Tested | None:
    """What the tests of a method recorded; None unless all recorded something that belongs together.

    Args:
        outcomes: of all its seeds.
        faults: gets a message for what cannot be shown.
    """
    whole: Tested | None = None
    for outcome, parts in _of_all(outcomes, run_files.read_test, "its test recorded no classes", faults):
        names = tuple(distinct(parts.names))
        if whole is None:
            errors = [(one.result or {}).get("ece_pct") for one in outcomes]
            ece_pct = None if None in errors else cell_of([float(error) for error in errors if error is not None])
            first = outcome.result or {}
            whole = Tested(names, parts.confusion, parts.calibration, parts.wrong, first, ece_pct, len(outcomes))
        elif names == whole.names:
            calibration = _together(whole.calibration, parts.calibration)
            whole = whole._replace(confusion=whole.confusion + parts.confusion, calibration=calibration)
        else:
            faults.append(f"{outcome.folder}: its classes are not those of the other seeds: none of them is shown")
            return None
    return whole


def _of_all(
    outcomes: Sequence[Outcome], read: Callable[[Path, dict[str, Any]], Any], lacks: str, faults: list[str]
) -> list[tuple[Outcome, Any]]:
    """What each run recorded; nothing unless all did: pictures are over the same seeds as tables."""
    found = []
    for outcome in outcomes:
        try:
            left = read(outcome.folder, outcome.result or {}) if outcome.folder else None
        except (UserError, OSError) as error:
            faults.append(one_line(str(error)))
            return []
        found.append((outcome, left))
    lacking = [outcome.folder for outcome, left in found if not left]
    if 0 < len(lacking) < len(found):
        faults.append(f"{lacking[0]}: {lacks}, so that those of the other seeds are not shown")
    return [] if lacking else found


def _together(one: Numbers, other: Numbers) -> Numbers:
    """Bins of both: images added, confidence and accuracy weighted by them."""
    images = one[:, :1] + other[:, :1]
    means = (one[:, 1:] * one[:, :1] + other[:, 1:] * other[:, :1]) / np.maximum(images, 1)
    return np.concatenate([images, means], axis=1)


def losses(outcomes: Sequence[Outcome], faults: list[str]) -> Numbers | None:
    """The mean loss of each epoch of a method's trainings, (seeds, epochs); None if one is missing.

    Args:
        outcomes: of all its seeds.
        faults: gets a message for what cannot be shown.
    """
    curves = [curve for _, curve in _of_all(outcomes, _losses, "its training recorded no losses", faults)]
    if not curves:
        return None
    of_seeds = [[np.mean(found) for found in by_epoch.values()] for by_epoch in curves]
    epochs = min(map(len, of_seeds))
    return np.array([own[:epochs] for own in of_seeds])


def _losses(folder: Path, result: dict[str, Any]) -> dict[float, list[float]] | None:
    """Losses of the steps that have one, by epoch."""
    read, found = run_files.read_steps(folder, result) or {}, dict[float, list[float]]()
    for epoch, loss in zip(read.get("epoch", ()), read.get("loss", ())):
        if math.isfinite(loss):
            found.setdefault(epoch, []).append(loss)
    return found or None
