"""Accuracy over confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.experiments.reporting.figures.layout import MOST_PANELS, Look, first_of, panels
from modprompt.experiments.reporting.table import Cell
from modprompt.experiments.reporting.views import Diagnostics, Tested, title

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 10  # images of a bin that is drawn, a seed on average: seeds test the same images


def reliability(left: Diagnostics, looks: Mapping[str, Look], path: Path, strong: str = "") -> str:
    """A curve for each method and a panel for each data set and half; the calibration error is in its legend."""
    found = {}
    for place, tests in left.tests.items():
        known = {label: tests[label] for label in looks if label in tests}
        known = {label: one for label, one in known.items() if len(_curve(one))}
        if known:
            found[title(*place)] = known
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    with panels(path, list(drawn), x="confidence", y="accuracy", strong=strong) as grid:
        for axes, methods in zip(grid, drawn.values()):
            axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
            for number, (label, one) in enumerate(methods.items()):
                there = _curve(one)
                axes.plot(there[:, 1], there[:, 2], **looks[label].curve(), zorder=9 - number)
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
            errors = [_told(one.ece_pct) if one.ece_pct else "not known" for one in methods.values()]
            handles = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
            small: dict[str, Any] = {"title": "ECE (%)", "title_fontsize": 6, "fontsize": 6, "handlelength": 0.9}
            axes.legend(handles, errors, loc="best", borderaxespad=0.1, **small)
    bins = len(next(iter(next(iter(drawn.values())).values())).calibration)
    return (
        f"Reliability: accuracy of the images whose most probable class has so much of the probability, in {bins} "
        f"equally wide bins, those with fewer than {FEWEST} images a seed left out; on the dotted line confidence "
        "equals accuracy, below it is too high. ECE: expected calibration error of all bins in percent, mean and "
        f"standard deviation over seeds.{first_of(len(drawn), len(found), 'panels')}"
    )


def _curve(one: Tested) -> NDArray[np.float64]:
    """The bins that are drawn, as `calibration` has them."""
    return one.calibration[one.calibration[:, 0] >= FEWEST * one.seeds]


def _told(cell: Cell) -> str:
    return f"{cell.mean:.1f}" if cell.std is None else f"{cell.mean:.1f} ± {cell.std:.1f}"
