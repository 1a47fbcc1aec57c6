"""Figures of panels by data set: how far confidence can be believed, and how losses fell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Mapping

import numpy as np

from modprompt.experiments.reporting.figure_layout import PAGE_IN, Look, legend_height, names, tidy, top_legend
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_POINTS = 60  # of a curve of losses, each a mean over steps
_ONE_IN = 4.0  # width and height of a panel that stands alone, without names
_ONE_HIGH_IN = 3.0


def _save_panels(
    titles: list[str], looks: Mapping[str, Look], draw: Callable[[Axes, str], None], x: str, y: str, path: Path
) -> None:
    """Write a figure with a panel for each title, four in a row, with one legend, and what the axes are."""
    texts = names(list(looks))
    across = min(4, len(titles))
    down = -(-len(titles) // across)
    width, each = (PAGE_IN, 2.2 if across < 4 else 1.75) if len(titles) > 1 else (_ONE_IN, _ONE_HIGH_IN)
    size = (width, 0.3 + each * down + legend_height(width, list(texts.values())))
    fig, all_axes = pyplot().subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    for axes in all_axes.flat[len(titles) :]:
        axes.set_axis_off()
    short = names(titles, 100 // across)
    for axes, title in zip(all_axes.flat, titles):
        draw(axes, title)
        tidy(axes)
        axes.set_title(short[title], fontsize=8)
    top_legend(fig, *all_axes.flat[: len(titles)])
    fig.supxlabel(x, fontsize=8)
    fig.supylabel(y, fontsize=8)
    save_for_print(fig, path)


def reliability(panels: Mapping[str, Mapping[str, Numbers]], looks: Mapping[str, Look], path: Path) -> str:
    """Accuracy over confidence, a curve for each method and a panel for each data set and half.

    Args:
        panels: (bins, 3) images, mean confidence and accuracy (0 to 1) of each bin, by title and method.
        looks: of the methods.
        path: of the figure.
    """
    texts = names(list(looks))

    def draw(axes: Axes, title: str) -> None:
        axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
        for label, bins in panels[title].items():
            there = bins[bins[:, 0] > 0]
            axes.plot(there[:, 1], there[:, 2], label=texts[label], **looks[label].curve())
        axes.set(xlim=(0, 1), ylim=(0, 1.02))

    _save_panels(list(panels), looks, draw, "confidence", "accuracy", path)
    return (
        "Reliability: accuracy of the images whose most probable class has so much of the probability, in 15 equally "
        "wide bins; on the dotted line confidence is what it says, below it too high."
    )


def loss_curves(
    panels: Mapping[str, Mapping[str, tuple[Numbers, Numbers]]], looks: Mapping[str, Look], path: Path
) -> str:
    """Loss over epochs, a curve for each method and a panel for each data set.

    Args:
        panels: epochs and losses by title and method.
        looks: of the methods.
        path: of the figure.
    """
    from matplotlib.ticker import LogLocator  # late, as all of matplotlib

    texts = names(list(looks))

    def draw(axes: Axes, title: str) -> None:
        for label, (epochs, loss) in panels[title].items():
            look = {**looks[label].curve(), "ms": 3}
            x, y = _thinned(epochs), _thinned(loss)
            axes.plot(x, y, label=texts[label], markevery=max(1, len(x) // 6), **look)
        known = [loss for _, loss in panels[title].values()]
        if all((loss > 0).all() for loss in known):
            axes.set_yscale("log")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(which="minor", labelsize=7)

    _save_panels(list(panels), looks, draw, "epoch", "training loss", path)
    return (
        "Training loss, the mean over seeds and over neighbouring steps; methods have losses of their own, so that "
        "heights of different methods cannot be compared."
    )


def _thinned(values: Numbers) -> Numbers:
    """Means over neighbours, at most so many as there are points."""
    return np.array([part.mean() for part in np.array_split(values, min(_POINTS, len(values)))])
