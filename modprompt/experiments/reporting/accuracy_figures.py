"""Figures of accuracy: bars by data set, gains over zero-shot CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Sequence

import numpy as np

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.figure_layout import (
    COLOURS,
    COLUMN_IN,
    MOST_METHODS,
    PAGE_IN,
    WHISKERS,
    Look,
    legend_height,
    names,
    shown,
    tidy,
    top_legend,
)
from modprompt.experiments.reporting.figure_methods import baseline, chosen, highlighted
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cells = dict[str, dict[str, Cell]]  # by method and data set

_FILLED = 0.84  # of a group that bars take
_BAR_IN = 0.034  # of the thinnest bar whose hatch is seen
_AXES_IN = PAGE_IN - 0.6
_BARS_SIDE_BY_SIDE = 30  # in a panel of a third of a page


def _points(experiment: Experiment, sections: Sequence[Section]) -> dict[str, Cells]:
    """Measured cells by panel, method and data set."""
    panels: dict[str, Cells] = {}
    for section in sections:
        for label, cells in section.measured().items():
            for column, cell in zip(section.columns, cells):
                if cell is None:
                    continue
                panel, place = ("accuracy", column) if experiment.protocol in CROSS else (column, section.key)
                panels.setdefault(panel, {}).setdefault(label, {})[place] = cell
    return panels


def _shape(panels: int, groups: int, methods: int) -> tuple[int, int, float, float]:
    """Rows and columns of panels, and the width and height of them all in inches, without the legend."""
    if panels == 1:
        return 1, 1, COLUMN_IN if groups * methods <= _BARS_SIDE_BY_SIDE and groups <= 4 else PAGE_IN, 2.2
    if groups * methods <= _BARS_SIDE_BY_SIDE:
        return 1, panels, PAGE_IN, 2.0
    return panels, 1, PAGE_IN, 1.45 * panels + (0.45 if groups > 4 else 0.2)


def bars(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Grouped bars: a group for each data set, a bar for each method, a panel for each of base, new and H."""
    panels = _points(experiment, sections)
    order = [section.key for section in sections] if experiment.protocol not in CROSS else sections[0].columns
    filled = {place for panel in panels.values() for cells in panel.values() for place in cells}
    places = [place for place in order if place in filled]
    mine, zero_shot = highlighted(experiment, results), baseline(results)
    room = max(2, int(_AXES_IN * _FILLED / (_BAR_IN * len(places))))
    kept = [mine, *([zero_shot.label] if zero_shot else [])]
    picked = chosen(sections, min(room, MOST_METHODS), kept)
    texts = names(list(picked.looks))
    down, across, width, height = _shape(len(panels), len(places), len(texts))
    size = (width, height + legend_height(width, list(texts.values())))
    fig, all_axes = pyplot().subplots(
        down, across, figsize=size, layout="constrained", squeeze=False, sharex="col" if down > 1 else False
    )
    for axes, (panel, methods) in zip(all_axes.flat, panels.items()):
        _bars(axes, methods, picked.looks, texts, places)
        axes.set_ylabel(f"{shown(panel)} (%)", fontsize=8)
        axes.set_ylim(*_limits(panels, picked.looks))
    top_legend(fig, all_axes[0, 0], strong=texts.get(mine, ""))
    save_for_print(fig, path)
    return f"Accuracy on each data set; bars are means over seeds, {WHISKERS}. The axis is cut." + picked.said


def _limits(panels: dict[str, Cells], labels: Iterable[str]) -> tuple[float, float]:
    """Of all panels, so that they can be compared: whole tens around what is drawn, and some room below."""
    cells = [cell for methods in panels.values() for label in labels for cell in methods.get(label, {}).values()]
    low, high = min(cell.mean for cell in cells), max(cell.mean + (cell.std or 0) for cell in cells)
    return max(0.0, float(np.floor(low / 10)) * 10 - 10), min(100.0, float(np.ceil(high / 10)) * 10)


def _bars(axes: Axes, methods: Cells, looks: dict[str, Look], texts: dict[str, str], places: Sequence[str]) -> None:
    thick = _FILLED / len(looks)  # of a bar, where groups are 1 apart
    for number, (label, look) in enumerate(looks.items()):
        cells = methods.get(label, {})
        at = [places.index(place) + (number - (len(looks) - 1) / 2) * thick for place in cells]
        means, errors = [cell.mean for cell in cells.values()], [cell.std or 0 for cell in cells.values()]
        whiskers: dict[str, Any] = {"yerr": errors, "error_kw": {"lw": 0.6}} if any(errors) else {}
        axes.bar(at, means, thick, label=texts[label], **look.bar(), **whiskers)
    axes.set_xlim(-0.5, len(places) - 0.5)
    tidy(axes)
    turned: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if len(places) > 4 else {}
    axes.set_xticks(range(len(places)), list(names(places, 20).values()), fontsize=7, **turned)
    axes.tick_params(axis="x", length=0)


def gains(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Horizontal bars: what a method gains over zero-shot CLIP on each data set, sorted, best on top, on one scale."""
    zero_shot, mine = baseline(results), highlighted(experiment, results)
    if zero_shot is None or mine in ("", zero_shot.label):
        return ""
    found = {}
    for panel, methods in _points(experiment, sections).items():
        ours, theirs = methods.get(mine, {}), methods.get(zero_shot.label, {})
        both = {place: ours[place].mean - theirs[place].mean for place in ours if place in theirs}
        if both:
            found[panel] = sorted(both.items(), key=lambda item: item[1])
    if not found:
        return ""
    tallest = max(map(len, found.values()))
    width = PAGE_IN if len(found) > 1 else COLUMN_IN
    fig, all_axes = pyplot().subplots(
        1, len(found), figsize=(width, 0.75 + 0.19 * tallest), layout="constrained", squeeze=False, sharex=True
    )
    for axes, (panel, places) in zip(all_axes[0], found.items()):
        values = [gain for _, gain in places]
        drawn = axes.barh(
            range(len(places)), values, color=[COLOURS[2] if gain >= 0 else COLOURS[3] for gain in values]
        )
        axes.bar_label(drawn, [f"{gain:+.2f}" for gain in values], fontsize=7, padding=2)
        axes.tick_params(labelsize=7)
        axes.set_yticks(range(len(places)), list(names([place for place, _ in places], 18).values()), fontsize=7)
        axes.axvline(0, color="0.3", lw=0.8)
        axes.set_title(shown(panel), fontsize=8)
        axes.set_xlabel("points of accuracy", fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    every = [gain for places in found.values() for _, gain in places]
    low, high = min(0.0, *every), max(0.0, *every)
    room = 0.5 * (high - low) or 1.0  # for the numbers behind the bars
    all_axes[0, 0].set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 or low == high else 0))
    save_for_print(fig, path)
    return f"What {mine} gains over {zero_shot.label} (zero-shot), in points of accuracy, sorted."
