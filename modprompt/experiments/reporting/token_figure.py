"""The figure of prompt tokens: how many enter each layer, as runs have recorded it."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.experiments.reporting.figure_style import colour, legend_height, shown, tidy, top_legend
from modprompt.experiments.reporting.results import Results
from modprompt.storage.pictures import pyplot, save_figure

# what reading a schedule that was edited by hand raises; the last two of one that is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)


def token_counts(results: Results) -> dict[str, dict[str, tuple[int, ...]]]:
    """Prompt tokens that enter each layer, by method and side, as its runs have recorded their schedules."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for line, _, _, _, outcome in results.all():
        schedules = (outcome.result or {}).get("schedules")
        if line.label not in found and schedules is not None:
            with contextlib.suppress(*_EDITED):
                sides = {side: Schedule(ast.literal_eval(schedules[side]), side).counts for side in ("text", "vision")}
                found.update({line.label: sides} if all(sides.values()) else {})
    return found


def tokens(results: Results, path: Path) -> str:
    """Prompt tokens in front of each layer, both sides; a line for each schedule, whoever has it."""
    methods: dict[tuple[tuple[str, tuple[int, ...]], ...], list[str]] = {}
    for label, sides in token_counts(results).items():
        methods.setdefault(tuple(sides.items()), []).append(label)
    if not methods:
        return ""
    names = [
        shown(labels[0]) + (f" (and {len(labels) - 1} more)" if len(labels) > 1 else "") for labels in methods.values()
    ]
    size = (8.2, 2.6 + legend_height(8.2, names))
    fig, all_axes = pyplot().subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    for axes, side in zip(all_axes, ("text", "vision")):
        for number, (schedule, label) in enumerate(zip(methods, names)):
            counts = np.array(dict(schedule)[side])
            apart = (number - (len(methods) - 1) / 2) * min(0.08, 0.6 / len(methods))  # equal lines are seen
            axes.step(range(len(counts)), counts + apart, where="mid", color=colour(number), label=label, lw=1.6)
        axes.set_xlabel(f"{side} layer", fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
        tidy(axes)
    all_axes[0].set_ylim(bottom=-0.5)
    all_axes[0].set_ylabel("prompt tokens", fontsize=9)
    top_legend(fig, all_axes[0])
    save_figure(fig, path)
    return "Prompt tokens that enter each layer: what a method's schedule removes, adds and carries."
