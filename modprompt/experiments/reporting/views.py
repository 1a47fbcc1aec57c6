"""What a report looks at closely: the runs of a data set and column, and what their tests and trainings have left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Sequence

import numpy as np

from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.results import Outcome, Results
from modprompt.runs import steps, test_parts
from modprompt.storage.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


class View(NamedTuple):
    """The finished runs of a data set and column: by method the outcomes of its seeds that have a result."""

    dataset: str
    column: str
    runs: dict[str, list[Outcome]]


class Tested(NamedTuple):
    """What the tests of a method's seeds have left together.

    names: of the C classes, each once: those of several classes with their label.
    confusion: (C, C) images of all seeds, rows by class, columns by what they were taken for.
    calibration: (bins, 3) images of all seeds, their mean confidence, their accuracy.
    wrong: the wrong images of the first seed.
    result: that seed's.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    calibration: Numbers
    wrong: Sequence[test_parts.Wrong]
    result: dict[str, object]

    def accuracy_pct(self) -> dict[str, float]:
        """Accuracy of each class that has images, by its name."""
        images = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return {name: 100 * float(r) / float(n) for name, r, n in zip(self.names, right, images) if n}


def views(experiment: Experiment, results: Results) -> list[View]:
    """The data sets and columns of a report; of shots the most, beside which stands what trains nothing."""
    columns = results.columns
    if experiment.protocol == "few_shot":
        columns = (max(columns, key=lambda column: int(column) if column.isdigit() else -1),)
    found = []
    for dataset in results.datasets:
        for column in columns:
            runs = {}
            for line in results.lines:
                asked = column if results.is_asked(line, column) else "0"
                if results.is_asked(line, asked) and asked in (column, *results.columns):
                    outcomes = results.outcomes(line, dataset, asked).values()
                    runs[line.label] = [one for one in outcomes if one.result and one.folder]
            if any(runs.values()):
                found.append(View(dataset, column, {label: own for label, own in runs.items() if own}))
    return found


def tested(outcomes: Sequence[Outcome], faults: list[str]) -> Tested | None:
    """What the tests of a method have left; None where none has left anything.

    Args:
        outcomes: of its seeds.
        faults: gets a line for what cannot be shown.
    """
    whole: Tested | None = None
    for outcome in outcomes:
        if outcome.folder is None or outcome.result is None:
            continue
        try:
            parts = test_parts.read(outcome.folder, outcome.result)
        except (UserError, OSError) as error:
            faults.append(one_line(str(error)))
            continue
        if parts is None:
            continue
        names = tuple(distinct(parts.names))
        if whole is None:
            whole = Tested(names, parts.confusion, parts.calibration, parts.wrong, outcome.result)
        elif names == whole.names:
            calibration = _together(whole.calibration, parts.calibration)
            whole = whole._replace(confusion=whole.confusion + parts.confusion, calibration=calibration)
        else:
            faults.append(f"{outcome.folder}: its classes are not those of the other seeds: not shown")
    return whole


def _together(one: Numbers, other: Numbers) -> Numbers:
    """Bins of both: images added, confidence and accuracy weighted by them."""
    images = one[:, :1] + other[:, :1]
    means = (one[:, 1:] * one[:, :1] + other[:, 1:] * other[:, :1]) / np.maximum(images, 1)
    return np.concatenate([images, means], axis=1)


def losses(outcomes: Sequence[Outcome], faults: list[str]) -> tuple[Numbers, Numbers] | None:
    """Epochs (from 0, with fractions) and losses of a method's trainings, in the mean over seeds; None without any.

    Args:
        outcomes: of its seeds.
        faults: gets a line for what cannot be shown.
    """
    curves = []
    for outcome in outcomes:
        try:
            read = steps.read(outcome.folder, outcome.result) if outcome.folder else None
        except (UserError, OSError) as error:
            faults.append(one_line(str(error)))
            continue
        if read and read.get("loss"):
            there = [at for at, loss in enumerate(read["loss"]) if math.isfinite(loss)]
            curves.append(([read["epoch"][at] for at in there], [read["loss"][at] for at in there]))
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        return None
    length = min(len(loss) for _, loss in curves)  # seeds with a step less come of classes with fewer images
    epochs = np.array(curves[0][0][:length])
    steps_each = math.ceil(length / max(len(set(epochs.tolist())), 1))
    mean = np.array([loss[:length] for _, loss in curves]).mean(axis=0)
    return (np.arange(length) + 1) / steps_each, mean
