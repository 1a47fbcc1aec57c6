"""The figure of a grid: a map of accuracies over its one or two axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np

from modprompt.experiments.plan.method import short_names
from modprompt.experiments.reporting.figure_layout import COLUMN_IN, PAGE_IN, shown
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import Section
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MOST_ACROSS = 14  # fields of a map across a page whose numbers are of the usual size


def heat_maps(family: str, keys: Sequence[str], results: Results, sections: Sequence[Section], path: Path) -> str:
    """A grid's numbers, averaged over data sets: a map for each column; one axis alone is one row of each map."""
    if len(keys) > 2 or not sections:
        return ""
    section, names = sections[-1], short_names(keys)
    rows_key, columns_key = (keys if len(keys) == 2 else ("", *keys))[:2]
    points = {line.label: dict(line.point) for line in results.lines if line.point and line.family == family}
    rows = list(dict.fromkeys(point.get(rows_key, "") for point in points.values()))
    across = list(dict.fromkeys(point[columns_key] for point in points.values()))
    columns = [column for column in section.columns if column != "0"]
    plt, measured = pyplot(), section.measured()
    each = 0.75 + 0.42 * len(across)  # inches of a map
    side_by_side = max(1, min(3, len(columns), int(PAGE_IN / each)))
    width = COLUMN_IN if each * side_by_side <= COLUMN_IN else PAGE_IN
    down = -(-len(columns) // side_by_side)
    fig, all_axes = plt.subplots(
        down,
        side_by_side,
        figsize=(width, (0.8 + 0.26 * len(rows)) * down),
        layout="constrained",
        squeeze=False,
    )
    for axes in all_axes.flat[len(columns) :]:
        axes.set_axis_off()
    for axes, column in zip(all_axes.flat, columns):
        values = np.full((len(rows), len(across)), np.nan)
        for label, point in points.items():
            cell = measured[label][section.columns.index(column)]
            if cell is not None:
                values[rows.index(point.get(rows_key, "")), across.index(point[columns_key])] = cell.mean
        _map(axes, values, 7 if len(across) <= _MOST_ACROSS else 5)
        axes.set_xticks(range(len(across)), list(map(shown, across)), fontsize=7)
        axes.set_yticks(range(len(rows)), list(map(shown, rows)), fontsize=7)
        axes.set_xlabel(shown(names[columns_key]), fontsize=7)
        axes.set_ylabel(shown(names.get(rows_key, "")), fontsize=7)
        axes.set_title(f"{shown(column)} (%)", fontsize=8)
    save_for_print(fig, path)
    over = " and ".join(names.values())
    return f"{family}: mean accuracy over {over}, {section.title}; empty fields are not finished."


def _map(axes: Axes, values: NDArray[np.float64], letters_pt: int) -> None:
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    axes.imshow(values, cmap="viridis", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = value <= (low + high) / 2
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=letters_pt, color="w" if dark else "k"
            )
