"""Figures of protocol active: curves over labels or rounds, a panel for each data set and method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modprompt.experiments.plan.rounds import FEW_SHOT, method_of
from modprompt.experiments.reporting.figure_layout import (
    PAGE_IN,
    WHISKERS,
    legend_height,
    look,
    names,
    shown,
    tidy,
    top_legend,
)
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.rounds import Series, series_of
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PANELS = 36  # of a page
_MOST_ACROSS = 4
_ONE_IN = 4.8  # width of a panel that stands alone
_MOST_WHISKERS = 4  # curves of a panel whose whiskers can be told apart
_SAME = "Thick lines with full markers: with PCB."


class Kind(NamedTuple):
    """What a figure shows.

    values: which numbers of Series.
    over_labels: whether over labels; else over rounds.
    axis: the name of the upright axis.
    caption: what the figure says.
    """

    values: str
    over_labels: bool
    axis: str
    caption: str


KINDS = {
    "rounds.png": Kind(
        "accuracy",
        True,
        "accuracy (%)",
        "Accuracy over the labels asked for, means over seeds, of the base classes where there are new ones; dashed: "
        f"few-shot runs of the same budget. Of up to {_MOST_WHISKERS} curves {WHISKERS}. {_SAME}",
    ),
    "rounds_new.png": Kind(
        "new", True, "accuracy of the new classes (%)", "The same of the new classes, which nothing was trained on."
    ),
    "covered.png": Kind("covered", False, "classes with a label (%)", "Classes that have a label, by round. " + _SAME),
    "balance.png": Kind(
        "balance",
        False,
        "label balance (%)",
        "Entropy of the labels over its largest value, by round: 100% is as many labels for each class. " + _SAME,
    ),
}


def draw(kind: Kind, results: Results, path: Path) -> str:
    """Draw a figure; its caption, empty if there is nothing to show."""
    all_panels = _panels(kind, results)
    panels = dict(list(all_panels.items())[:_MOST_PANELS])
    if not panels:
        return ""
    places = _places(list(panels))
    down, across = (1 + max(place[side] for place in places.values()) for side in (0, 1))
    labels = list(dict.fromkeys(line.acquisition or line.label for lines in panels.values() for line in lines))
    width, each = (PAGE_IN, 2.1 if across < _MOST_ACROSS else 1.8) if len(panels) > 1 else (_ONE_IN, 2.8)
    size = (width, 0.2 + each * down + legend_height(width, labels))
    fig, all_axes = pyplot().subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    for axes in all_axes.flat:
        axes.set_axis_off()
    titles = names([f"{method}, {dataset}" for dataset, method in panels], 100 // across)
    for ((dataset, method), place), title in zip(places.items(), titles.values()):
        axes = all_axes[place]
        axes.set_axis_on()
        _panel(axes, kind, results, dataset, panels[dataset, method])
        axes.set_title(title, fontsize=8)
    fig.supxlabel("labels asked for" if kind.over_labels else "round", fontsize=8)
    fig.supylabel(kind.axis, fontsize=8)
    top_legend(fig, *all_axes.flat)
    save_for_print(fig, path)
    left_out = f" The first {len(panels)} of {len(all_panels)} panels." if len(panels) < len(all_panels) else ""
    return kind.caption + left_out


def _panels(kind: Kind, results: Results) -> dict[tuple[str, str], dict[Line, Series]]:
    """The curves of each panel, (data set, method), that has one besides its few-shot curve."""
    found: dict[tuple[str, str], dict[Line, Series]] = {}
    for dataset in results.datasets:
        for line in results.lines:
            series = series_of(results, line, dataset)
            if series is not None and _drawable(kind, series).any():
                found.setdefault((dataset, line.panel), {})[line] = series
    return {place: lines for place, lines in found.items() if any(line.acquisition != FEW_SHOT for line in lines)}


def _places(panels: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Row and column of each panel: a column for each method, or, of one method, panels one behind the other."""
    methods = list(dict.fromkeys(method for _, method in panels))
    if len(methods) == 1:
        across = min(3, len(panels))
        return {panel: divmod(number, across) for number, panel in enumerate(panels)}
    datasets, across = list(dict.fromkeys(dataset for dataset, _ in panels)), min(_MOST_ACROSS, len(methods))
    rows = -(-len(methods) // across)  # of each data set
    places = {}
    for dataset, method in panels:
        row, column = divmod(methods.index(method), across)
        places[dataset, method] = (datasets.index(dataset) * rows + row, column)
    return places


def _x(kind: Kind, series: Series) -> Any:
    return series.labels.mean(axis=0) if kind.over_labels else np.arange(series.labels.shape[1])


def _drawable(kind: Kind, series: Series) -> Any:
    """Rounds that all seeds have a number of."""
    return ~np.isnan(getattr(series, kind.values).mean(axis=0)) & ~np.isnan(_x(kind, series))


def _panel(axes: Axes, kind: Kind, results: Results, dataset: str, lines: dict[Line, Series]) -> None:
    zero_shot = [] if kind.values not in ("accuracy", "new") else [one for one in results.lines if not one.trains]
    for number, line in enumerate(zero_shot):
        values = results.values(line, dataset, line.columns[0 if kind.values == "accuracy" else -1])
        if values is not None:
            style = (":", "-.")[number % 2]
            axes.axhline(float(np.mean(values)), color="0.55", ls=style, lw=1.4, label=shown(line.label))
    known = list(dict.fromkeys(method_of(line.acquisition) for line in results.lines if line.acquisition))
    known = [name for name in known if name != FEW_SHOT]
    for line, series in lines.items():
        there = _drawable(kind, series)
        values = getattr(series, kind.values)[:, there]
        whiskers = {"yerr": values.std(axis=0), "capsize": 2} if len(lines) <= _MOST_WHISKERS else {}
        axes.errorbar(_x(kind, series)[there], values.mean(axis=0), **_look(line, known), **whiskers)
    axes.locator_params(axis="x", integer=True)
    tidy(axes)


def _look(line: Line, known: list[str]) -> dict[str, Any]:
    """How a curve is drawn: a colour for each acquisition, strong with PCB; the few-shot curve black and dashed."""
    if line.acquisition == FEW_SHOT:
        return {"color": "0.1", "ls": "--", "lw": 1.5, "marker": "x", "ms": 4, "label": FEW_SHOT, "zorder": 3}
    own = look(known.index(method_of(line.acquisition)))
    strong = method_of(line.acquisition) != line.acquisition
    face, width, above = (own.colour, 2.0, 2.0) if strong else ("white", 1.1, 2.5)  # where equal, both are seen
    return {**own.curve(), "mfc": face, "lw": width, "zorder": above, "label": shown(line.acquisition)}
