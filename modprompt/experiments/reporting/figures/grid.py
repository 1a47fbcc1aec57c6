"""The numbers of a grid of settings as maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modprompt.experiments.plan.experiment import short_names
from modprompt.experiments.reporting.figures.field import field
from modprompt.experiments.reporting.figures.layout import COLUMN_IN, PAGE_IN, panels, shown
from modprompt.experiments.reporting.measured import Measured

_MOST_ACROSS = 14  # fields of a map across a page with numbers of the usual size


def heat_maps(family: str, keys: Sequence[str], measured: Measured, path: Path) -> str:
    """A grid's numbers, averaged over data sets: a map for each column; one axis alone is one row of each map."""
    if len(keys) > 2 or not measured.sections:
        return ""
    section, names = measured.sections[-1], short_names(keys)
    rows_key, columns_key = (keys if len(keys) == 2 else ("", *keys))[:2]
    points = {line.label: dict(line.point) for line in measured.results.lines if line.point and line.family == family}
    rows = list(dict.fromkeys(point.get(rows_key, "") for point in points.values()))
    steps = list(dict.fromkeys(point[columns_key] for point in points.values()))
    columns = [column for column in section.columns if column != "0"]
    each = 0.75 + 0.42 * len(steps)  # inches of a map
    across = max(1, min(3, len(columns), int(PAGE_IN / each)))
    size: dict[str, Any] = {"across": across, "width": COLUMN_IN if each * across <= COLUMN_IN else PAGE_IN}
    with panels(path, [f"{column} (%)" for column in columns], **size, high=0.7 + 0.26 * len(rows)) as grid:
        for axes, column in zip(grid, columns):
            values = np.full((len(rows), len(steps)), np.nan)
            for label, point in points.items():
                cell = section.measured()[label][section.columns.index(column)]
                if cell is not None:
                    values[rows.index(point.get(rows_key, "")), steps.index(point[columns_key])] = cell.mean
            known = values[~np.isnan(values)]
            low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
            letters_pt = 7 if len(steps) <= _MOST_ACROSS else 5
            field(axes, values, low, max(high, low + 1e-6), "{:.2f}".format, letters_pt, "viridis")
            axes.set_xticks(range(len(steps)), list(map(shown, steps)))
            axes.set_yticks(range(len(rows)), list(map(shown, rows)))
            axes.set(xlabel=shown(names[columns_key]), ylabel=shown(names.get(rows_key, "")))
    over = " and ".join(names.values())
    return f"{family}: mean accuracy over {over}, {section.title}; empty fields are not finished."
