"""The figure of prompt tokens: how many enter each layer, as runs have recorded it."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.experiments.reporting.figure_layout import PAGE_IN, names
from modprompt.experiments.reporting.results import Results
from modprompt.storage.pictures import pyplot, save_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what reading a schedule that was edited by hand raises; the last two of one that is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)
_MOST_ROWS = 40  # of a figure on one page


def token_counts(results: Results) -> dict[str, list[dict[str, tuple[int, ...]]]]:
    """Prompt tokens that enter each layer, by method and side, as its runs have recorded their schedules, each once."""
    texts: dict[str, list[Any]] = {}
    for line, _, _, _, outcome in results.all():
        schedules = (outcome.result or {}).get("schedules")
        if schedules is not None and schedules not in texts.setdefault(line.label, []):
            texts[line.label].append(schedules)
    found: dict[str, list[dict[str, tuple[int, ...]]]] = {}
    for label, schedules in ((label, one) for label, own in texts.items() for one in own):
        with contextlib.suppress(*_EDITED):
            sides = {side: Schedule(ast.literal_eval(schedules[side]), side).counts for side in ("text", "vision")}
            if all(sides.values()):
                found.setdefault(label, []).append(sides)
    return found


def tokens(results: Results, path: Path, best: Sequence[str]) -> str:
    """Prompt tokens in front of each layer, both sides: a row for each method, the number in each field.

    Args:
        results: of the runs.
        path: of the figure.
        best: the methods, the best first, of which those are drawn that there is room for.
    """
    counts = token_counts(results)
    if not counts:
        return ""
    ranked = [label for label in (*best, *counts) if label in counts]
    kept = set(list(dict.fromkeys(ranked))[:_MOST_ROWS])
    rows = {label: own[0] for label, own in counts.items() if label in kept}
    texts, most = names(list(rows)), max(max(max(side) for side in sides.values()) for sides in rows.values())
    size = (PAGE_IN, 0.75 + 0.17 * len(rows))
    fig, all_axes = pyplot().subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    for axes, side in zip(all_axes, ("text", "vision")):
        _map(axes, [sides[side] for sides in rows.values()], most)
        axes.set_xlabel(f"{side} layer", fontsize=8)
    all_axes[0].set_yticks(range(len(rows)), list(texts.values()), fontsize=7)
    save_for_print(fig, path)
    said = f" The best {len(rows)} of {len(counts)} methods." if len(rows) < len(counts) else ""
    several = [f"{label} ({len(counts[label])})" for label in rows if len(counts[label]) > 1]
    said += f" Of several schedules, as searches find them, the first: {', '.join(several)}." if several else ""
    return "Prompt tokens that enter each layer: what a method's schedule removes, adds and carries." + said


def _map(axes: Axes, rows: Sequence[Sequence[int]], most: int) -> None:
    """Numbers by row and layer, darker for more; a layer without tokens is a white field with its 0."""
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.3 * max(most, 1), aspect="auto")
    for (row, layer), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(
                layer,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="w" if value > 0.7 * most else "0.1" if value else "0.6",
            )
    layers = values.shape[1]
    step = 1 if layers <= 16 else 2
    axes.set_xticks(range(0, layers, step), [str(layer) for layer in range(1, layers + 1, step)], fontsize=6)
    axes.set_xticks(np.arange(0.5, layers - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(rows) - 1), minor=True)
    axes.grid(which="minor", color="w", lw=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
