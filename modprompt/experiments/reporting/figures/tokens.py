"""Prompt tokens that enter each layer: those that the layer before has carried on, and new ones."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan.stages import STAGES
from modprompt.experiments.reporting.figures.layout import MOST_METHODS, PAGE_IN, names, panels
from modprompt.experiments.reporting.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what reading a schedule that was edited by hand raises; the last two for one that is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)
CARRIED, NEW = "#56b4e9", "#e69f00"  # both are light: numbers are read on them
_ROW = 0.84  # of a row that is filled
_SMALL = 16  # layers with numbers of the usual size

Layers = tuple[tuple[int, int], ...]  # for each layer the carried tokens, and the new ones


def token_counts(results: Results) -> dict[str, list[dict[str, Layers]]]:
    """Carried and new prompt tokens of each layer, by method and side, as its runs have recorded their schedules, each
    once."""
    found: dict[str, list[dict[str, Layers]]] = {}
    known: list[tuple[str, Any]] = []
    for line, _, _, _, outcome in results.all():
        schedules = (outcome.result or {}).get("schedules")
        if schedules is None or (line.label, schedules) in known:
            continue
        known.append((line.label, schedules))
        with contextlib.suppress(*_EDITED):
            sides = {side: _layers(Schedule(ast.literal_eval(schedules[side]), side)) for side in ("text", "vision")}
            if all(sides.values()):
                found.setdefault(line.label, []).append(sides)
    return found


def _layers(schedule: Schedule) -> Layers:
    return tuple((count - step.add, step.add) for count, step in zip(schedule.counts, schedule))


def told(carried: int, new: int) -> str:
    """The numbers of a field: 4+2 are four carried and two new ones, 4 carried ones alone, +2 new ones alone."""
    return f"{carried}+{new}" if carried and new else f"+{new}" if new else f"{carried}" if carried else "0"


def tokens(results: Results, best: Sequence[str], path: Path, strong: str = "") -> str:
    """A row for each method, a panel for each side: in each field the share of carried and of new tokens, and both
    numbers.

    Args:
        results: of the runs.
        best: the methods, the best first; as many are drawn as there is space for.
        path: of the figure.
        strong: the method in bold.
    """
    counts = token_counts(results)
    if not counts:
        return ""
    kept = list(dict.fromkeys(label for label in (*best, *counts) if label in counts))[:MOST_METHODS]
    rows = {label: own[0] for label, own in counts.items() if label in kept}
    sides = [side for side in ("text", "vision") if any(any(map(sum, own[side])) for own in rows.values())]
    if not sides:
        return ""
    drawn = {side: {label: own[side] for label, own in rows.items() if any(map(sum, own[side]))} for side in sides}
    heights = [0.4 + 0.17 * len(own) for own in drawn.values()]
    size: dict[str, Any] = {"width": PAGE_IN, "high": sum(heights) / len(heights)}
    with panels(path, [""] * len(sides), across=1, **size, gridspec_kw={"height_ratios": heights}) as grid:
        for axes, side in zip(grid, sides):
            _side(axes, drawn[side], strong)
            axes.set_xlabel(f"{side} layer (from 0)")
    said = f" The best {len(rows)} of {len(counts)} methods." if len(rows) < len(counts) else ""
    several = [f"{label} ({len(counts[label])})" for label in rows if len(counts[label]) > 1]
    finders = " and ".join(one.plural for one in STAGES if one.finds("SCHEDULE_TEXT"))
    said += f" Of several schedules, as {finders} find them, the first: {', '.join(several)}." if several else ""
    return (
        "Prompt tokens that enter each layer: 4+2 are four that the layer before has carried on and two new ones, 4 "
        "are carried ones alone, +2 new ones alone; what is not carried on has been removed. Methods without prompt "
        f"tokens on a side are left out there.{said}"
    )


def _side(axes: Axes, rows: dict[str, Layers], strong: str) -> None:
    layers = max(map(len, rows.values()))
    for number, own in enumerate(rows.values()):
        for layer, (carried, new) in enumerate(own):
            _field(axes, layer, number, carried, new, 7 if layers <= _SMALL else 5)
    for kind, colour in (("carried", CARRIED), ("new", NEW)):
        axes.bar([0], [0], color=colour, label=kind)
    axes.set(xlim=(-0.5, layers - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(layers))
    axes.set_yticks(range(len(rows)), list(names(list(rows)).values()))
    for text, label in zip(axes.get_yticklabels(), rows):
        text.set_fontweight("bold" if label == strong else "normal")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=False)


def _field(axes: Axes, layer: int, row: int, carried: int, new: int, letters_pt: float) -> None:
    """A field, its left part for carried tokens and its right part for new ones, as wide as their shares."""
    left, whole = layer - 0.46, 0.92
    share = carried / (carried + new) if carried + new else 0.0
    if carried:
        axes.barh(row, share * whole, _ROW, left=left, color=CARRIED)
    if new:
        axes.barh(row, (1 - share) * whole, _ROW, left=left + share * whole, color=NEW)
    colour = "0.1" if carried + new else "0.6"
    axes.text(layer, row, told(carried, new), ha="center", va="center", fontsize=letters_pt, color=colour)
