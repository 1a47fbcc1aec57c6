"""The figure of few-shot runs: accuracy over shots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.figure_layout import (
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
from modprompt.experiments.reporting.results import ALL_IMAGES, Results
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CURVES = 12  # of a panel that can be told apart
_ONE_IN = 4.8  # width of a panel that stands alone


def curves(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Accuracy over shots, a panel for each data set and the average; zero-shot CLIP is a level line.

    Trainings on all images are points of their own behind the last shots.
    """
    drawn = [section for section in sections if any(any(cells) for cells in section.measured().values())]
    if not drawn:
        return ""
    mine, zero_shot = highlighted(experiment, results), baseline(results)
    picked = chosen(sections, _MOST_CURVES, [mine, *([zero_shot.label] if zero_shot else [])])
    texts = names(list(picked.looks))
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    width, each = (PAGE_IN, 2.1 if across < 4 else 1.7) if len(drawn) > 1 else (_ONE_IN, 2.8)
    size = (width, 0.2 + each * down + legend_height(width, list(texts.values())))
    fig, all_axes = pyplot().subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    places = _places(drawn[0].columns)
    for axes in all_axes.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes, section in zip(all_axes.flat, drawn):
        for label, cells in section.measured().items():
            if label in picked.looks:
                _curve(axes, texts[label], picked.looks[label], dict(zip(section.columns, cells)), places)
        axes.set_xscale("log", base=2)
        tidy(axes)
        axes.set_xticks(list(places.values()), list(places), fontsize=7)
        axes.minorticks_off()
        axes.set_title(shown(section.key), fontsize=8)
    fig.supxlabel("training images per class", fontsize=8)
    fig.supylabel("accuracy (%)", fontsize=8)
    top_legend(fig, *all_axes.flat[: len(drawn)], strong=texts.get(mine, ""))
    save_for_print(fig, path)
    apart = f" {ALL_IMAGES}: trained on all images, of which the axis does not say how many." * (ALL_IMAGES in places)
    return f"Accuracy over the number of shots; {WHISKERS}.{apart}" + picked.said


def _places(columns: Sequence[str]) -> dict[str, int]:
    """Where the columns of trainings stand on the axis."""
    places = {column: int(column) for column in columns if column.isdigit() and column != "0"}
    return {**places, **({ALL_IMAGES: 4 * max(places.values(), default=1)} if ALL_IMAGES in columns else {})}


def _curve(axes: Axes, text: str, look: Look, cells: dict[str, Cell | None], places: dict[str, int]) -> None:
    zero_shot = cells.get("0")
    if zero_shot is not None:
        axes.axhline(zero_shot.mean, color=look.colour, ls=(0, (4, 2)), lw=1.2, label=text)
        return
    there = [(column, at, cell) for column, at in places.items() if (cell := cells.get(column)) is not None]
    _points(axes, [(at, cell) for column, at, cell in there if column != ALL_IMAGES], **look.curve(), label=text)
    of_all = [(at, cell) for column, at, cell in there if column == ALL_IMAGES]
    if of_all:
        _points(axes, of_all, **{**look.curve(), "ls": "none"})


def _points(axes: Axes, points: Sequence[tuple[int, Cell]], **how: Any) -> None:
    axes.errorbar(
        [at for at, _ in points],
        [cell.mean for _, cell in points],
        yerr=[cell.std or 0 for _, cell in points],
        capsize=1.5,
        elinewidth=0.7,
        **how,
    )
