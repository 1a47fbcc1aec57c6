"""The training loss over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.figures.layout import MOST_PANELS, Look, first_of, panels
from modprompt.experiments.reporting.views import Diagnostics, losses, title


def loss_curves(
    experiment: Experiment, left: Diagnostics, looks: Mapping[str, Look], path: Path, strong: str = ""
) -> str:
    """A curve with a band over seeds for each method, and a panel for each training: not for new classes, and across
    data sets only for the source."""
    from matplotlib.ticker import LogLocator, NullFormatter  # late, as all of matplotlib

    found = {}
    for view in left.views:
        if view.is_trained and (experiment.protocol not in CROSS or view.dataset == experiment.source):
            own = {label: losses(view.runs.get(label, ()), left.faults) for label in looks}
            found[title(view.dataset, view.column)] = {label: one for label, one in own.items() if one is not None}
    found = {name: methods for name, methods in found.items() if methods}
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    are_alike = len({loss.shape[1] for methods in drawn.values() for loss in methods.values()}) == 1
    with panels(path, list(drawn), x="epoch" if are_alike else "epochs (%)", y="training loss", strong=strong) as grid:
        for axes, methods in zip(grid, drawn.values()):
            for number, (label, loss) in enumerate(methods.items()):
                epochs = np.arange(1, loss.shape[1] + 1) * (1 if are_alike else 100 / loss.shape[1])
                mean, std = loss.mean(axis=0), loss.std(axis=0)
                every = max(1, len(epochs) // 6)
                axes.plot(epochs, mean, **{**looks[label].curve(), "ms": 3}, markevery=every, zorder=9 - number)
                if len(loss) > 1:
                    axes.fill_between(epochs, mean - std, mean + std, color=looks[label].colour, alpha=0.2, lw=0)
            axes.locator_params(axis="x", integer=True)
            means = np.concatenate([loss.mean(axis=0) for loss in methods.values()])
            if (means > 0).all():  # what of a band is below the axis is cut off
                axes.set_yscale("log", nonpositive="clip")
                axes.set_ylim(means.min() / 1.5, axes.get_ylim()[1])
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter(NullFormatter())
    return (
        "Training loss: means of epochs over seeds, bands are standard deviations over seeds, cut off at the axis; "
        + ("" if are_alike else "trainings differ in their number of epochs, of which the axis has percent; ")
        + "methods have losses of their own, so that heights of different methods cannot be compared."
        + first_of(len(drawn), len(found), "panels")
    )
