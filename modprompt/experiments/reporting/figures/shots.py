"""Accuracy over the number of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.experiments.reporting.figures.layout import WHISKERS, Look, panels
from modprompt.experiments.reporting.figures.outliers import limits
from modprompt.experiments.reporting.measured import Measured
from modprompt.experiments.reporting.results import ALL_IMAGES
from modprompt.experiments.reporting.table import Cell, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CURVES = 8  # of a panel that can be told apart
_LEAST = 2.0  # smallest value of the median distance from the median, in points


def curves(measured: Measured, path: Path) -> str:
    """Accuracy over shots, a panel for each data set and the average; zero-shot CLIP is a level line.

    Trainings on all images are separate points after the last shots.
    """
    drawn = [section for section in measured.sections if any(any(cells) for cells in section.measured().values())]
    if not drawn:
        return ""
    mine = measured.mine
    picked = measured.chosen(_MOST_CURVES, [mine, measured.zero_shot])
    shots = {column: int(column) for column in drawn[0].columns if column.isdigit() and column != "0"}
    of_all = {ALL_IMAGES: 4 * max(shots.values(), default=1)} if ALL_IMAGES in drawn[0].columns else {}
    axis: dict[str, Any] = {"x": "training images per class", "y": "accuracy (%)"}
    with panels(path, [section.key for section in drawn], **axis, strong=picked.name(mine)) as grid:
        for axes, section in zip(grid, drawn):
            for label, look in picked.looks.items():
                cells = dict(zip(section.columns, section.measured().get(label, ())))
                zero_shot = cells.get("0")
                if zero_shot is not None:
                    axes.axhline(zero_shot.mean, **look.level())
                for places, line in ((shots, "-"), (of_all, "none")):
                    points = [(at, cell) for name, at in places.items() if (cell := cells.get(name)) is not None]
                    if points:
                        _points(axes, points, **{**look.curve(), "ls": line})
            _cut(axes, section, picked.looks, {**shots, **of_all})
            axes.set_xscale("log", base=2)
            axes.set_xticks([*shots.values(), *of_all.values()], [*shots, *of_all])
            axes.minorticks_off()
    apart = f" {ALL_IMAGES}: trained on all images, of which the axis does not say how many." * bool(of_all)
    cut = " A triangle at the end of an axis stands for a number below it."
    return f"Accuracy over the number of shots; {WHISKERS}.{cut}{apart}{picked.said}"


def _points(axes: Axes, points: Sequence[tuple[float, Cell]], **how: Any) -> None:
    """A curve with whiskers."""
    errors = [cell.std or 0 for _, cell in points]
    axes.errorbar([at for at, _ in points], [cell.mean for _, cell in points], yerr=errors, elinewidth=0.7, **how)


def _cut(axes: Axes, section: Section, looks: Mapping[str, Look], places: Mapping[str, int]) -> None:
    """End the axis before outliers, which are triangles with their values there."""
    cells = [
        (look, name, cell)
        for label, look in looks.items()
        for name, cell in zip(section.columns, section.measured().get(label, ()))
        if cell is not None
    ]
    if not cells:
        return
    ends = [cell.mean + side * (cell.std or 0) for _, _, cell in cells for side in (-1, 1)]
    low, high = limits([cell.mean for _, _, cell in cells], ends, _LEAST)
    axes.set_ylim(low, high)
    for look, name, cell in cells:
        if name in places and cell.mean < low:
            axes.plot([places[name]], [low], "v", color=look.colour, ms=5, clip_on=False, gid="outlier", zorder=3)
            how: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "ha": "center"}
            axes.annotate(f"{cell.mean:.1f}", (places[name], low), (0, 5), **how)
