"""Figures of accuracy: bars by data set, gains over zero-shot CLIP, curves over shots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.figure_style import (
    COLOURS,
    MOST_METHODS,
    colour,
    legend_height,
    shown,
    tidy,
    top_legend,
)
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import Cell, Section, measured_labels
from modprompt.storage.pictures import pyplot, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _points(experiment: Experiment, sections: Sequence[Section]) -> dict[str, dict[str, dict[str, Cell]]]:
    """Measured cells as {panel: {method: {data set: cell}}}."""
    panels: dict[str, dict[str, dict[str, Cell]]] = {}
    for section in sections:
        for label, cells in section.measured().items():
            for column, cell in zip(section.columns, cells):
                if cell is None:
                    continue
                panel, place = ("accuracy", column) if experiment.protocol in CROSS else (column, section.key)
                panels.setdefault(panel, {}).setdefault(label, {})[place] = cell
    return panels


def bars(experiment: Experiment, sections: Sequence[Section], path: Path) -> str:
    """Grouped bars: a group for each data set, a bar for each method, a panel for each of base, new and H."""
    plt, panels, labels = pyplot(), _points(experiment, sections), measured_labels(sections)
    places = list(dict.fromkeys(place for panel in panels.values() for cells in panel.values() for place in cells))
    width = 0.8 / max(len(labels), 1)
    group = 0.35 + 0.16 * len(labels)  # inches
    if len(places) * group < 3:  # few groups: panels side by side
        shape, width, height = (1, len(panels)), 2.6 * len(panels) + 0.4, 2.6
    else:
        shape, width, height = (len(panels), 1), max(6.0, 1.2 + len(places) * group), 2.4 * len(panels)
    size = (width, height + legend_height(width, labels))
    fig, all_axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for axes, (panel, methods) in zip(all_axes.flat, panels.items()):
        lowest = min(cell.mean for cells in methods.values() for cell in cells.values())
        for number, label in enumerate(labels):
            cells = methods.get(label, {})
            at = [places.index(place) + (number - (len(labels) - 1) / 2) * width for place in cells]
            errors = [cell.std or 0 for cell in cells.values()]
            means = [cell.mean for cell in cells.values()]
            axes.bar(at, means, width, yerr=errors, color=colour(number), label=shown(label), error_kw={"lw": 0.8})
        axes.set_ylim(max(0, np.floor(lowest / 10) * 10 - 10), 100)
        axes.set_xticks(range(len(places)), list(map(shown, places)), rotation=25 if len(places) > 4 else 0, fontsize=8)
        axes.set_ylabel(f"{panel} (%)", fontsize=9)
        tidy(axes)
    top_legend(fig, all_axes[0, 0])
    save_figure(fig, path)
    return "Accuracy on each data set; bars are means over seeds, whiskers standard deviations. The axis is cut."


def _baseline(results: Results) -> Line | None:
    return next((line for line in results.lines if not line.trains), None)


def gains(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Horizontal bars: what a method gains over zero-shot CLIP on each data set, sorted, best on top."""
    baseline = _baseline(results)
    mine = next((line.label for line in results.lines if line.family == experiment.highlight), None)
    if baseline is None or mine in (None, baseline.label):
        return ""
    found = {}
    for panel, methods in _points(experiment, sections).items():
        ours, theirs = methods.get(mine, {}), methods.get(baseline.label, {})
        both = {place: ours[place].mean - theirs[place].mean for place in ours if place in theirs}
        if both:
            found[panel] = sorted(both.items(), key=lambda item: item[1])
    if not found:
        return ""
    plt, tallest = pyplot(), max(map(len, found.values()))
    fig, all_axes = plt.subplots(
        1, len(found), figsize=(3.4 * len(found) + 0.6, 1.2 + 0.3 * tallest), layout="constrained", squeeze=False
    )
    for axes, (panel, places) in zip(all_axes[0], found.items()):
        values = [gain for _, gain in places]
        drawn = axes.barh(
            range(len(places)), values, color=[COLOURS[2] if gain >= 0 else COLOURS[3] for gain in values]
        )
        axes.bar_label(drawn, [f"{gain:+.2f}" for gain in values], fontsize=8, padding=2)
        axes.set_yticks(range(len(places)), [shown(place) for place, _ in places], fontsize=8)
        axes.axvline(0, color="0.3", lw=0.8)
        axes.margins(x=0.25)
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel("points of accuracy", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(fig, path)
    return f"What {mine} gains over {baseline.label} (zero-shot), in points of accuracy, sorted."


def curves(sections: Sequence[Section], path: Path) -> str:
    """Accuracy over shots, a panel for each data set and the average; zero-shot CLIP is a level line."""
    plt, labels = pyplot(), measured_labels(sections)
    panels = sections if len(labels) <= MOST_METHODS else sections[-1:]  # so many curves are read on the average alone
    drawn = [section for section in panels if any(any(cells) for cells in section.measured().values())]
    if not drawn:
        return ""
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    width, each = (3.2 * across + 0.6, 2.5) if len(drawn) > 1 else (6.4, 4.0)
    size = (width, each * down + legend_height(width, labels))
    fig, all_axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    shots = [column for column in drawn[0].columns if column != "0"]
    for axes in all_axes.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes, section in zip(all_axes.flat, drawn):
        for label, cells in section.measured().items():
            if label in labels:
                _curve(axes, label, labels.index(label), dict(zip(section.columns, cells)), shots)
        axes.set_xscale("log", base=2)
        axes.set_xticks([int(shot) for shot in shots], shots, fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.minorticks_off()
        axes.set_title(shown(section.key), fontsize=9)
        tidy(axes)
    fig.supxlabel("training images per class", fontsize=9)
    fig.supylabel("accuracy (%)", fontsize=9)
    top_legend(fig, all_axes[0, 0])
    save_figure(fig, path)
    return "Accuracy over the number of shots; whiskers are standard deviations over seeds."


def _curve(axes: Axes, label: str, number: int, cells: dict[str, Cell | None], shots: Sequence[str]) -> None:
    zero_shot = cells.get("0")
    if zero_shot is not None:
        axes.axhline(zero_shot.mean, color=colour(number), ls="--", lw=1.2, label=shown(label))
        return
    there = [(int(shot), cell) for shot in shots if (cell := cells.get(shot)) is not None]
    axes.errorbar(
        [shot for shot, _ in there],
        [cell.mean for _, cell in there],
        yerr=[cell.std or 0 for _, cell in there],
        color=colour(number),
        marker="o",
        ms=3,
        lw=1.3,
        capsize=2,
        label=shown(label),
    )
