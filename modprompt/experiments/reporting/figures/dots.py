"""Dot plots: methods sorted, points over zero-shot CLIP, small dots for seeds, an interval, and arrows for outliers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.reporting.figures.layout import (
    COLUMN_IN,
    PAGE_IN,
    Look,
    names,
    panels,
    shown,
)
from modprompt.experiments.reporting.figures.outliers import limits
from modprompt.experiments.reporting.intervals import NAME, interval
from modprompt.experiments.reporting.measured import Chosen, Measured
from modprompt.experiments.reporting.table import AVERAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ROWS = 40  # of a figure on one page
_BESIDE = 12  # methods of the panels of single data sets
_ROW_IN = 0.17
_SEEDS_BELOW = 0.24  # of a row, so that seeds do not lie on the interval
_OFFSET = 0.2  # between two marks of a row
_HOW = (
    f"Marks are the means of the tables, small dots single seeds, lines the {NAME} (n - 1) around their mean; what "
    "lies beyond an axis is an arrow at its end"
)


class Mark(NamedTuple):
    """What is drawn of a method in a row, in points: the tables' mean, the seeds' interval (None for none), seeds."""

    look: Look
    mean: float
    interval: tuple[float, float] | None
    seeds: Sequence[float]


def mark(measured: Measured, look: Look, label: str, place: str, column: str, over: str) -> Mark | None:
    """A method's mark in points over another one (over "": in percent); None where there is no number."""
    cells = measured.panels.get(column, {})
    cell = cells.get(label, {}).get(place)
    if cell is None:
        return None
    level = _level(measured, place, column, over) or 0.0
    seeds = measured.by_seed(label, place, column)
    drawn = [value - level for value in seeds] if len(seeds) > 1 else []
    return Mark(look, cell.mean - level, interval(drawn), drawn)


def _level(measured: Measured, place: str, column: str, over: str) -> float | None:
    """The number of the method that a figure is over; None without one."""
    cell = measured.panels.get(column, {}).get(over, {}).get(place)
    return None if cell is None else cell.mean


def _over(measured: Measured, places: Iterable[tuple[str, str]]) -> str:
    """Zero-shot CLIP, if it has a number in all panels of a figure, (place, column) each; else "", for percent."""
    levels = [_level(measured, place, column, measured.zero_shot) for place, column in places]
    return "" if None in levels else measured.zero_shot


def rows(axes: Axes, marks: Mapping[str, Sequence[Mark | None]], bold: Iterable[str] = ()) -> None:
    """Draw rows of marks, the first on top, on an axis that ignores outliers: these are arrows with their values.

    Marks have a name in the legend where a row has several of them.

    Args:
        axes: where.
        marks: by name of the row; None keeps a mark's place.
        bold: names of rows that stand out.
    """
    every = [one for row in marks.values() for one in row if one is not None]
    if not every:
        return
    ends = [end for one in every for end in one.interval or ()]
    low, high = limits([one.mean for one in every], [*ends, *(value for one in every for value in one.seeds)])
    axes.set(xlim=(low, high), ylim=(len(marks) - 0.4, -0.6))
    for number, row in enumerate(marks.values()):
        first = -_OFFSET * (len(row) - 1)
        for at, one in enumerate(row):
            if one is not None:
                _draw(axes, one, number + first + 2 * _OFFSET * at)
                if len(row) > 1:
                    axes.plot([], [], **one.look.mark(), ms=5, label=one.look.name)
    if low < 0 < high:
        axes.axvline(0, color="0.3", lw=0.8, zorder=1)
    axes.locator_params(axis="x", nbins=5, steps=(1, 2, 5, 10))
    axes.set_yticks(range(len(marks)), list(names(list(marks)).values()))
    for text, name in zip(axes.get_yticklabels(), marks):
        text.set_fontweight("bold" if name in bold else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.grid(axis="x")


def _draw(axes: Axes, one: Mark, row: float) -> None:
    """A mark; what lies beyond the axis is an arrow at its end, with the mean."""
    low, high = axes.get_xlim()
    inside = [value for value in one.seeds if low <= value <= high]
    small: dict[str, Any] = {"ms": 2.4, "mew": 0, "alpha": 0.55, "ls": "none", "zorder": 2}
    axes.plot(inside, [row + _SEEDS_BELOW] * len(inside), ".", color=one.look.colour, gid="seeds", **small)
    if one.seeds:
        _beyond(axes, one.look.colour, row + _SEEDS_BELOW, min(one.seeds), max(one.seeds))
    if not low <= one.mean <= high:
        is_left = one.mean < low
        end: dict[str, Any] = {"color": one.look.colour, "clip_on": False, "ls": "none", "ms": 5}
        axes.plot([low if is_left else high], [row], "<" if is_left else ">", gid="outlier", **end)
        how: dict[str, Any] = {"ha": "left" if is_left else "right", "va": "center", "fontsize": 7}
        shift = (6 if is_left else -6, 0)
        axes.annotate(
            f"{one.mean:.1f}".replace("-", "−"),
            (low if is_left else high, row),
            shift,
            textcoords="offset points",
            **how,
        )
        return
    left, right = one.interval or (one.mean, one.mean)
    if left < right:
        ends = max(low, left), min(high, right)
        axes.plot(ends, [row] * 2, color=one.look.colour, lw=1.1, solid_capstyle="butt", gid="interval", zorder=2.5)
    _beyond(axes, one.look.colour, row, left, right)
    axes.plot([one.mean], [row], **one.look.mark(), ms=5, gid="mean", zorder=3)


def _beyond(axes: Axes, colour: str, row: float, lowest: float, highest: float) -> None:
    """Small arrows at the ends of the axis that values go beyond."""
    low, high = axes.get_xlim()
    for is_beyond, place, arrow in ((lowest < low, low, "<"), (highest > high, high, ">")):
        if is_beyond:
            axes.plot([place], [row], arrow, color=colour, ms=3, clip_on=False, gid="beyond")


def _about(measured: Measured, place: str, column: str, over: str, title: str) -> str:
    """A panel's title with the number of the method that it is over."""
    level = _level(measured, place, column, over)
    return title if level is None else f"{title} ({over} {level:.2f})"


def _axis(over: str) -> str:
    return f"{shown(f'points over {over}') if over else 'accuracy (%)'}; lines: {NAME}"


def methods(measured: Measured, path: Path) -> str:
    """All methods, the best on top, a panel for base, new and H; across data sets one for the source and one for the
    average of the targets."""
    section, is_across = measured.sections[-1], measured.experiment.protocol in CROSS
    columns = measured.panels
    places = [(section.key, column, column) for column in columns]
    if is_across:
        targets = measured.results.datasets[1:]
        name = targets[0] if len(targets) == 1 else AVERAGE
        places = [(section.columns[0], "accuracy", section.columns[0]), (AVERAGE, "accuracy", name)]
    places = [one for one in places if any(one[0] in cells for cells in _cells(measured, one[1]))]
    over, picked = _over(measured, [one[:2] for one in places]), measured.chosen(_MOST_ROWS, [measured.mine])
    drawn = _sorted(measured, picked, [one[:2] for one in places], over)
    if not drawn:
        return ""
    size: dict[str, Any] = {"across": len(places), "width": PAGE_IN if len(places) > 1 else COLUMN_IN * 1.4}
    titles = [_about(measured, place, column, over, title) for place, column, title in places]
    high = 0.5 + _ROW_IN * len(drawn)
    with panels(path, titles, **size, high=high, sharey=True, x=_axis(over)) as grid:
        for axes, (place, column, _) in zip(grid, places):
            marks = {label: [mark(measured, picked.looks[label], label, place, column, over)] for label in drawn}
            rows(axes, marks, [measured.mine])
    where = "source and average of the targets" if is_across else section.title
    return f"Methods sorted by {section.merit}, {where}. {_HOW}." + picked.said


def _sorted(measured: Measured, picked: Chosen, places: Sequence[tuple[str, str]], over: str) -> list[str]:
    """The methods that have a number in a panel, (place, column) each, the best first, without `over`."""
    there = {label for place, column in places for label, cells in measured.panels[column].items() if place in cells}
    return [label for label in measured.ranked() if label in picked.looks and label in there and label != over]


def datasets(measured: Measured, path: Path) -> str:
    """The same in a panel for each of several data sets, in the column that methods are ranked by."""
    section = measured.sections[-1]
    is_across = measured.experiment.protocol in CROSS
    column = "accuracy" if is_across else section.deciding
    places = [place for place in measured.results.datasets if any(place in one for one in _cells(measured, column))]
    if is_across:
        places = [place for place in places if place != section.columns[0]]
    if len(places) < 2:
        return ""
    picked = measured.chosen(_BESIDE, [measured.mine, measured.zero_shot])
    over = _over(measured, [(place, column) for place in places])
    drawn = _sorted(measured, picked, [(place, column) for place in places], over)
    if not drawn:
        return ""
    titles = [_about(measured, place, column, over, place) for place in places]
    across = min(3, len(places))
    high = 0.45 + 0.15 * len(drawn)
    with panels(path, titles, across=across, high=high, width=PAGE_IN, sharey=True, x=_axis(over)) as grid:
        for axes, place in zip(grid, places):
            marks = {label: [mark(measured, picked.looks[label], label, place, column, over)] for label in drawn}
            rows(axes, marks, [measured.mine])
    what = "" if is_across else f"{column} on "
    return (
        f"The same methods in the same order, {what}each data set; each panel has an axis of its own. {_HOW}."
        f"{picked.said}"
    )


def _cells(measured: Measured, column: str) -> list[Mapping[str, Any]]:
    return list(measured.panels.get(column, {}).values())


def gains(measured: Measured, path: Path) -> str:
    """The report's own method and its best rival over zero-shot CLIP, a row for each data set, sorted by the gain."""
    mine, zero_shot = measured.mine, measured.zero_shot
    rival = next((label for label in measured.ranked() if label not in (mine, zero_shot)), "")
    if not mine or not zero_shot or mine == zero_shot:
        return ""
    drawn = measured.looks_of([label for label in (mine, rival) if label])
    found: dict[str, dict[str, list[Mark | None]]] = {}
    for column, cells in measured.panels.items():
        places = [place for place in cells.get(mine, {}) if place in cells.get(zero_shot, {})]
        if measured.experiment.protocol in CROSS and len(measured.results.datasets) == 2:
            places = [place for place in places if place != AVERAGE]  # of one target
        marks = {
            place: [mark(measured, look, label, place, column, zero_shot) for label, look in drawn.items()]
            for place in places
        }
        order = sorted(places, key=lambda place: (place == AVERAGE, -_mean_of(marks[place][0])))
        if order:
            found[column] = {place: marks[place] for place in order}
    if all(len(places) < 2 for places in found.values()):
        return ""  # one data set: the dot plot of all methods has it
    most = max(map(len, found.values()))
    size: dict[str, Any] = {"across": len(found), "width": PAGE_IN if len(found) > 1 else COLUMN_IN * 1.4}
    axis = _axis(zero_shot)
    with panels(path, list(found), **size, high=0.5 + 0.24 * most, strong=drawn[mine].name, x=axis) as grid:
        for axes, marks_of in zip(grid, found.values()):
            rows(axes, marks_of, [AVERAGE])
    against = f" and {rival}, the best of the others," if rival else ""
    return (
        f"What {mine}{against} gain{'' if rival else 's'} over {zero_shot} (zero-shot) on each data set, sorted by "
        f"{mine}'s gain. {_HOW}."
    )


def _mean_of(one: Mark | None) -> float:
    return 0.0 if one is None else one.mean
