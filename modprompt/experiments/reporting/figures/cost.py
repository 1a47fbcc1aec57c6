"""Accuracy over what it costs: a point for each method, with its name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.experiments.reporting.cost import Cost, accuracy_name, costs
from modprompt.experiments.reporting.figures.layout import WHISKERS, Look, panels, shown
from modprompt.experiments.reporting.figures.outliers import limits
from modprompt.experiments.reporting.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_MOST_NAMES = 12  # at the points of a panel
_ROOM = 0.08  # of the axis, for whiskers and names
_COSTS: dict[str, Callable[[Cost], float | None]] = {
    "seconds of training": lambda one: None if one.training_s is None else one.training_s.mean,
    "trained parameters": lambda one: None if one.parameters is None else one.parameters[1],
}
_NEAR = [  # places of a name around its point, in points: (x, y, horizontal, vertical)
    (5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 5, "center", "bottom"), (0, -5, "center", "top"),
    (5, 6, "left", "bottom"), (-5, 6, "right", "bottom"), (5, -6, "left", "top"), (-5, -6, "right", "top"),
]  # fmt: skip
_FAR = [  # further ones, with a line to the point
    (far * x, far * y, "left" if x > 0 else "right", "bottom" if y > 0 else "top" if y < 0 else "center")
    for far in (12, 20, 28, 36, 46)
    for x, y in (
        *itertools.product((1, -1), (1, -1)),
        (1.4, 0),
        (-1.4, 0),
        *itertools.product((0.4, -0.4), (1.3, -1.3)),
    )
]
_PLACES = [*_NEAR, *_FAR]  # the best is taken, of equal ones the first
_HIDES, _HIDES_WHISKER, _OUTSIDE, _FURTHER = 1.0, 0.6, 3.0, 0.02  # how bad a place of a name is
_DECADES = 0.15  # the least median distance of costs, in decades
_FEW = 4  # one in so many costs may be an outlier
_MOST_TICKS = 6
_PLACES_OF_LEVELS = [
    (-2, 1, "right", "bottom"),
    (-2, -1, "right", "top"),
    (-2, 9, "right", "bottom"),
    (-2, -9, "right", "top"),
]


def accuracy_over_cost(measured: Measured, path: Path) -> str:
    """Points with names on axes that ignore outliers and long whiskers, that of costs logarithmic; a method that trains
    nothing is a level line."""
    found = costs(measured.experiment, measured.results, measured.sections)
    if sum(any(of(one) for of in _COSTS.values()) for one in found if one.accuracy) < 2:
        return ""
    untrained = {line.label for line in measured.results.lines if not line.trains}
    picked = measured.chosen(_MOST_NAMES, [measured.mine, measured.zero_shot])
    drawn = [one for one in found if one.label in picked.looks and one.accuracy is not None]
    cells = [(one.accuracy.mean, one.accuracy.std or 0.0) for one in drawn if one.accuracy is not None]
    usual = median(std for _, std in cells)
    ends = [mean + side * std for mean, std in cells for side in (-1, 1) if std <= usual]
    low, high = limits([mean for mean, _ in cells], ends)
    low, high = low - _ROOM * (high - low), high + _ROOM * (high - low)
    with panels(path, ["", ""], across=2, high=3.0, sharey=True) as grid:
        grid[0].set_ylim(low, high)
        grid[0].set_ylabel(shown(f"{measured.sections[-1].merit} (%)"))
        placed: list[list[Named]] = []
        for axes, (name, of) in zip(grid, _COSTS.items()):
            axes.grid(axis="both")
            axes.set_xlabel(name)
            levels = [one for one in drawn if one.label in untrained]
            points = [(value, one) for one in drawn if one not in levels and (value := of(one)) is not None]
            points.sort(key=lambda point: point[1].label == measured.mine)  # on top of the others
            scale(axes, [value for value, _ in points])
            texts = [_point(axes, at, one, picked.looks[one.label]) for at, one in points]
            placed.append([text._replace(is_mine=one.label == measured.mine) for (_, one), text in zip(points, texts)])
            placed[-1] += [_level(axes, one, picked.looks[one.label]) for one in levels]
        grid[0].figure.draw_without_rendering()  # type: ignore[union-attr]  # from here on positions of points are known
        for axes, texts_of in zip(grid, placed):
            _names(axes, texts_of)
    return (
        f"{accuracy_name(measured.sections)}, over what it costs: seconds of one training, and parameters that are "
        f"trained; {WHISKERS}. Dashed: what trains nothing. A triangle at the end of an axis stands for what is "
        f"beyond it.{picked.said}"
    )


class Named(NamedTuple):
    """A name and where it is written.

    x, y: in the data.
    low, high: of the whisker there.
    text: the name.
    places: where around it.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    colour: str = "0.1"
    is_mine: bool = False
    places: Sequence[tuple[float, float, str, str]] = _PLACES


def _point(axes: Axes, cost: float, one: Cost, look: Look) -> Named:
    """Draw a method."""
    assert one.accuracy is not None
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    mean, std = one.accuracy.mean, one.accuracy.std or 0.0
    at, level = min(max(cost, left), right), min(max(mean, low), high)
    arrow: dict[str, Any] = {"color": look.colour, "clip_on": False, "ls": "none"}
    if level != mean:
        axes.plot([at], [level], "v" if mean < low else "^", ms=6, gid="outlier", **arrow)
        return Named(at, level, level, level, f"{look.name} {mean:.1f}", look.colour)
    bottom, top = max(low, mean - std), min(high, mean + std)
    axes.plot([at, at], [bottom, top], color=look.colour, lw=0.8, zorder=2)
    for is_beyond, end, marker in ((mean - std < low, low, "v"), (mean + std > high, high, "^")):
        if is_beyond:
            axes.plot([at], [end], marker, ms=3, gid="beyond", **arrow)
    if at != cost:
        axes.plot([at], [mean], "<" if cost < left else ">", ms=6, gid="outlier", **arrow)
        return Named(at, mean, bottom, top, f"{look.name} {_short(float(f'{cost:.2g}'))}", look.colour)
    axes.plot([at], [mean], **look.mark(), ms=6.5, gid="mean", zorder=3)
    return Named(at, mean, bottom, top, look.name, look.colour)


def _level(axes: Axes, one: Cost, look: Look) -> Named:
    """Draw a level line with its name at an end; if it is beyond the axis, the name and the number alone."""
    assert one.accuracy is not None
    low, high = axes.get_ylim()
    at = min(max(one.accuracy.mean, low), high)
    beyond = "" if at == one.accuracy.mean else f" {one.accuracy.mean:.1f} {'↓' if at == low else '↑'}"
    if not beyond:
        axes.axhline(at, color=look.colour, ls=(0, (4, 2)), lw=1.0, zorder=1)
    right = axes.get_xlim()[1]
    return Named(right, at, at, at, look.name + beyond, look.colour, places=_PLACES_OF_LEVELS)


def _names(axes: Axes, points: Sequence[Named]) -> None:
    """Write names where they cover no point, whisker or other name, as far as there is space, with a line from those
    that are far; the report's own method in bold."""
    taken = [(box, weight) for point in points for box, weight in _around(axes, point)]
    frame = axes.get_window_extent()
    for point in points[::-1]:
        how: dict[str, Any] = {"fontweight": "bold" if point.is_mine else "normal", "color": _dark(point.colour)}
        text = axes.annotate(
            point.text, (point.x, point.y), (0, 0), textcoords="offset points", fontsize=7, in_layout=False, zorder=4,
            annotation_clip=False, **how,
        )  # fmt: skip
        size = text.get_window_extent()
        text.remove()
        tried: list[tuple[float, int, Bbox]] = []
        for far, place in enumerate(point.places):
            box = _box(axes, point, place, size)
            is_inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 + 1
            hidden = sum(weight for other, weight in taken if box.overlaps(other)) + (0 if is_inside else _OUTSIDE)
            tried.append((hidden + _FURTHER * far, far, box))
        _, far, box = min(tried, key=lambda one: one[:2])
        x, y, ha, va = place = point.places[far]
        line: dict[str, Any] = {"arrowstyle": "-", "lw": 0.5, "color": point.colour, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            point.text, (point.x, point.y), (x, y), ha=ha, va=va, textcoords="offset points", fontsize=7,
            in_layout=False, zorder=4, arrowprops=line if place in _FAR else None, annotation_clip=False, **how,
        )  # fmt: skip
        taken.append((box, _HIDES))


def _box(axes: Axes, point: Named, place: tuple[float, float, str, str], size: Bbox) -> Bbox:
    """The pixels of a name of that size at a place."""
    from matplotlib.transforms import Bbox  # late, as all of matplotlib

    x, y, ha, va = place
    at, down = axes.transData.transform((point.x, point.y)) + [x * axes.figure.dpi / 72, y * axes.figure.dpi / 72]
    left = at - size.width * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
    bottom = down - size.height * {"bottom": 0.0, "center": 0.5, "top": 1.0}[va]
    return Bbox.from_bounds(left, bottom, size.width, size.height)


def _dark(colour: str) -> Any:
    """A colour in which letters can be read on white."""
    from matplotlib.colors import to_rgb  # late, as all of matplotlib

    return tuple(0.75 * part for part in to_rgb(colour))


def _around(axes: Axes, point: Named) -> list[tuple[Bbox, float]]:
    """The pixels of a point and of its whisker, and how bad a name on them is; a level line has no point."""
    from matplotlib.transforms import Bbox

    if point.places is _PLACES_OF_LEVELS:
        return []
    (x, y), half = axes.transData.transform((point.x, point.y)), 3.5 * axes.figure.dpi / 72
    ends = [axes.transData.transform((point.x, end))[1] for end in (point.low, point.high)]
    own = Bbox.from_extents(x - half, y - half, x + half, y + half)
    return [(own, _HIDES), (Bbox.from_extents(x - 1, ends[0], x + 1, ends[1]), _HIDES_WHISKER)]


def scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis over a decade or more that ignores outliers; with 0 at its left, if that is a value."""
    above = [value for value in values if value]
    if not above:
        return
    least, most = (10**end for end in limits([math.log10(value) for value in above], least=_DECADES))
    near = [value for value in above if least <= value <= most]
    least, most = (min(near), max(near)) if _FEW * (len(above) - len(near)) <= len(above) else (min(above), max(above))
    spread = max(1.0, (10 * least / most) ** 0.5)
    low, high = least / spread / 1.5, most * spread * 1.5
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= _MOST_TICKS:
            break
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
