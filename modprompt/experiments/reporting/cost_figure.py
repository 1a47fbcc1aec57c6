"""The figure of costs: accuracy over seconds of training and over trained parameters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.cost import Cost, accuracy_name
from modprompt.experiments.reporting.figure_layout import (
    MOST_METHODS,
    PAGE_IN,
    WHISKERS,
    legend_height,
    names,
    shown,
    tidy,
    top_legend,
)
from modprompt.experiments.reporting.figure_methods import Chosen, baseline, chosen, highlighted
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import Section
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Panel(NamedTuple):
    name: str
    value: Callable[[Cost], float | None]


_PANELS = (
    _Panel("seconds of training", lambda one: None if one.training_s is None else one.training_s.mean),
    _Panel("trained parameters", lambda one: None if one.parameters is None else one.parameters[1]),
)


def accuracy_over_cost(
    experiment: Experiment, results: Results, sections: Sequence[Section], found: Sequence[Cost], path: Path
) -> str:
    """A point for each method, costs on a logarithmic axis; what trains nothing is a level line."""
    zero_shot, mine = baseline(results), highlighted(experiment, results)
    trained = [one for one in found if one.accuracy and any(panel.value(one) for panel in _PANELS)]
    if len(trained) < 2:
        return ""
    picked = chosen(sections, MOST_METHODS, [mine, *([zero_shot.label] if zero_shot else [])])
    drawn = [one for one in found if one.accuracy and one.label in picked.looks]
    texts = names([one.label for one in drawn])
    size = (PAGE_IN, 2.5 + legend_height(PAGE_IN, list(texts.values())))
    fig, all_axes = pyplot().subplots(1, len(_PANELS), figsize=size, layout="constrained", sharey=True)
    for axes, panel in zip(all_axes, _PANELS):
        _draw(axes, panel, drawn, picked, texts, {line.label for line in results.lines if not line.trains})
    all_axes[0].set_ylabel(shown(accuracy_name(sections).partition(",")[0]), fontsize=8)
    top_legend(fig, *all_axes, strong=texts.get(mine, ""))
    save_for_print(fig, path)
    return (
        f"{accuracy_name(sections)}, over what it costs: seconds of one training, and parameters that are trained; "
        f"{WHISKERS}.{picked.said}"
    )


def _draw(
    axes: Axes, panel: _Panel, drawn: Sequence[Cost], picked: Chosen, texts: dict[str, str], untrained: set[str]
) -> None:
    values = {one.label: panel.value(one) for one in drawn if one.label not in untrained}
    for one in drawn:
        look, cell, value = picked.looks[one.label], one.accuracy, values.get(one.label)
        if cell is None:
            continue
        if one.label in untrained:
            axes.axhline(cell.mean, color=look.colour, ls=(0, (4, 2)), lw=1.2, label=texts[one.label])
        elif value is not None:
            style = {**look.curve(), "ls": "none", "ms": 5.5}
            axes.errorbar([value], [cell.mean], yerr=[cell.std or 0], elinewidth=0.7, label=texts[one.label], **style)
    tidy(axes)
    axes.grid(axis="x", color="0.92")
    axes.set_xlabel(panel.name, fontsize=8)
    _scale(axes, [value for value in values.values() if value is not None])


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis over a decade or more, with 0 at its left, if that is among the values."""
    above = [value for value in values if value]
    if not above:
        return
    spread = max(1.0, (10 * min(above) / max(above)) ** 0.5)
    low, high = min(above) / spread / 1.5, max(above) * spread * 1.5
    steps = (1, 2, 5) if high < 50 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    if len(above) < len(values):
        axes.set_xscale("symlog", linthresh=low, linscale=0.5)
        axes.set_xlim(-low / 2, high)
        ticks.append(0.0)
    else:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    axes.set_xticks(ticks, [_short(tick) for tick in ticks], minor=False)
    axes.minorticks_off()


def _short(value: float) -> str:
    """A number of an axis: 200, 20k, 2M."""
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
