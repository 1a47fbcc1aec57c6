"""The figure of costs: accuracy over seconds of training and over trained parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.cost import Cost, accuracy_name
from modprompt.experiments.reporting.figure_methods import Chosen, baseline, chosen, highlighted
from modprompt.experiments.reporting.figure_style import (
    MOST_METHODS,
    PAGE_IN,
    legend_height,
    names,
    shown,
    tidy,
    top_legend,
)
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
        f"whiskers are standard deviations over seeds.{picked.said}"
    )


def _draw(
    axes: Axes, panel: _Panel, drawn: Sequence[Cost], picked: Chosen, texts: dict[str, str], untrained: set[str]
) -> None:
    values = {one.label: panel.value(one) for one in drawn if one.label not in untrained}
    above = [value for value in values.values() if value]
    if above and 0 in values.values():
        axes.set_xscale("symlog", linthresh=min(above) / 10)
    elif above:
        axes.set_xscale("log")
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
    axes.margins(x=0.12)
    axes.set_xlabel(panel.name, fontsize=8)
