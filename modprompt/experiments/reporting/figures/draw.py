"""Which figures a report has, drawn into its folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.figures import classes, cost, dots, grid, shots, tsne
from modprompt.experiments.reporting.figures.losses import loss_curves
from modprompt.experiments.reporting.figures.reliability import reliability
from modprompt.experiments.reporting.figures.tokens import tokens
from modprompt.experiments.reporting.measured import Measured
from modprompt.experiments.reporting.table import apart
from modprompt.experiments.reporting.views import Diagnostics

if TYPE_CHECKING:
    from modprompt.experiments.reporting.embedding import Cloud

_NONE: Mapping[str, Cloud] = {}
MOST_CLOSE = 4  # methods whose tests and trainings are drawn in one panel
_MOST_CLASSES_OF = 3  # methods whose classes are drawn side by side
_KINDS = ("methods", "datasets", "gains", "curves", "tokens", "cost", "ablation*")


class Figure(NamedTuple):
    """A drawn figure: file name, what it shows, and its data set; "" if it has several."""

    name: str
    caption: str
    place: str = ""


def draw(measured: Measured, left: Diagnostics, folder: Path, clouds: Mapping[str, Cloud] = _NONE) -> list[Figure]:
    """Draw every figure that has something to show into a folder; older ones with nothing left to show are removed.

    Args:
        measured: the results.
        left: what tests recorded; its faults get a message for what cannot be shown.
        folder: of the report.
        clouds: image features by data set, where they were asked for.
    """
    drawn = []
    for name, place, make in _wanted(measured, left, clouds):
        caption = make(folder / name)
        if caption:
            drawn.append(Figure(name, caption + (apart(measured.sections) if name != "tokens.png" else ""), place))
    there = {Path(figure.name).stem for figure in drawn}
    kinds = (*_KINDS, *_OF_ROUNDS)
    for old in (path for kind in kinds for path in folder.glob(f"{kind}.p[nd][gf]") if path.stem not in there):
        old.unlink(missing_ok=True)
    return drawn


_OF_ROUNDS = ("rounds", "rounds_new", "covered", "balance")


def report_of_rounds() -> Any:
    """The module that reports the protocol of rounds."""
    from modprompt.active import report  # late: it stands on this room

    return report


def _wanted(
    measured: Measured, left: Diagnostics, clouds: Mapping[str, Cloud]
) -> Iterator[tuple[str, str, Callable[[Path], str]]]:
    """For each figure its file, its data set, and a function that draws it."""
    experiment, results = measured.experiment, measured.results
    if experiment.added is not None:
        for name, make in report_of_rounds().figures(results):
            yield name, "", make
    if not measured.labels:
        return
    if experiment.protocol == "few_shot":
        yield "curves.png", "", functools.partial(shots.curves, measured)
    elif experiment.added is None and not experiment.grids:
        yield "methods.png", "", functools.partial(dots.methods, measured)
        yield "datasets.png", "", functools.partial(dots.datasets, measured)
        yield "gains.png", "", functools.partial(dots.gains, measured)
    if experiment.added is None:
        yield "tokens.png", "", functools.partial(tokens, results, measured.ranked(), strong=measured.mine)
        yield "cost.png", "", functools.partial(cost.accuracy_over_cost, measured)
        for number, (family, keys) in enumerate(experiment.grids.items()):
            yield f"ablation{number or ''}.png", "", functools.partial(grid.heat_maps, family, keys, measured)
    own = measured.looks_of(measured.closest(_MOST_CLASSES_OF))
    for dataset in dict.fromkeys(dataset for dataset, _ in left.tests):
        halves = {half: tests for (name, half), tests in left.tests.items() if name == dataset}
        halves = {half: {label: tests[label] for label in own if label in tests} for half, tests in halves.items()}
        halves = {half: tests for half, tests in halves.items() if tests}
        yield f"classes_{dataset}.png", dataset, functools.partial(classes.accuracies, halves, own)
        yield f"confusion_{dataset}.png", dataset, functools.partial(classes.confusions, halves)
    for dataset, cloud in clouds.items():
        yield f"tsne_{dataset}.png", dataset, functools.partial(tsne.clouds, cloud)
    close, strong = measured.looks_of(measured.closest(MOST_CLOSE)), measured.mine
    yield "reliability.png", "", functools.partial(reliability, left, close, strong=strong)
    trained = measured.looks_of(measured.closest(MOST_CLOSE, zero_shot=False))
    yield "losses.png", "", functools.partial(loss_curves, experiment, left, trained, strong=strong)


def left_out(experiment: Experiment) -> list[str]:
    """What no figure shows though somebody may look for it, a line each."""
    return [
        f"{family}: no map of a grid over {len(keys)} settings: a map has one or two"
        for family, keys in experiment.grids.items()
        if len(keys) > 2 and experiment.added is None
    ]
