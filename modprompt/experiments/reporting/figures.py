"""The figures of a report: what these papers print."""

from __future__ import annotations

import ast
import contextlib
import functools
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.method import short_names
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.storage.pictures import pyplot, save_figure

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
_MOST = 12  # methods whose bars or curves can be told apart, data set by data set


class Figure(NamedTuple):
    """A drawn figure: file name, and what it shows."""

    name: str
    caption: str


def shown(text: str) -> str:
    """A name as matplotlib draws it as it is: no formulas in it, and not hidden by its first letter."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def colour(number: int) -> str:
    """The colour of a method by its place; the tenth has the first's again."""
    return COLOURS[number % len(COLOURS)]


def _measured(section: Section) -> dict[str, tuple[Cell | None, ...]]:
    return {row.label: row.cells for row in section.rows if not row.source}


def _labels(sections: Sequence[Section]) -> list[str]:
    """Methods that have a number anywhere, in order."""
    rows = [row for section in sections for row in section.rows if not row.source]
    return list(dict.fromkeys(row.label for row in rows if any(row.cells)))


def _tidy(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _legend_columns(width: float, labels: Sequence[str]) -> int:
    """Columns of a legend that fit into a figure's width in inches."""
    return max(1, min(len(labels), int(width / (0.5 + 0.085 * max(map(len, labels))))))


def _legend_height(width: float, labels: Sequence[str]) -> float:
    """Inches that the legend takes above the panels."""
    return 0.3 + 0.19 * -(-len(labels) // _legend_columns(width, labels))


def _top_legend(fig, axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = _legend_columns(fig.get_figwidth(), labels)
    fig.legend(handles, labels, ncols=columns, loc="outside upper center", fontsize=9, frameon=False)


def _points(experiment: Experiment, sections: Sequence[Section]) -> dict[str, dict[str, dict[str, Cell]]]:
    """Measured cells as {panel: {method: {data set: cell}}}."""
    panels: dict[str, dict[str, dict[str, Cell]]] = {}
    for section in sections:
        for label, cells in _measured(section).items():
            for column, cell in zip(section.columns, cells):
                if cell is None:
                    continue
                panel, place = ("accuracy", column) if experiment.protocol in CROSS else (column, section.key)
                panels.setdefault(panel, {}).setdefault(label, {})[place] = cell
    return panels


def bars(experiment: Experiment, sections: Sequence[Section], path: Path) -> str:
    """Grouped bars: a group for each data set, a bar for each method, a panel for each of base, new and H."""
    plt, panels, labels = pyplot(), _points(experiment, sections), _labels(sections)
    places = list(dict.fromkeys(place for panel in panels.values() for cells in panel.values() for place in cells))
    width = 0.8 / max(len(labels), 1)
    group = 0.35 + 0.16 * len(labels)  # inches
    if len(places) * group < 3:  # few groups: panels side by side
        shape, width, height = (1, len(panels)), 2.6 * len(panels) + 0.4, 2.6
    else:
        shape, width, height = (len(panels), 1), max(6.0, 1.2 + len(places) * group), 2.4 * len(panels)
    size = (width, height + _legend_height(width, labels))
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
        _tidy(axes)
    _top_legend(fig, all_axes[0, 0])
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
    plt, labels = pyplot(), _labels(sections)
    panels = sections if len(labels) <= _MOST else sections[-1:]  # so many curves are read on the average alone
    drawn = [section for section in panels if any(any(cells) for cells in _measured(section).values())]
    if not drawn:
        return ""
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    width, each = (3.2 * across + 0.6, 2.5) if len(drawn) > 1 else (6.4, 4.0)
    size = (width, each * down + _legend_height(width, labels))
    fig, all_axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    shots = [column for column in drawn[0].columns if column != "0"]
    for axes in all_axes.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes, section in zip(all_axes.flat, drawn):
        for label, cells in _measured(section).items():
            if label in labels:
                _curve(axes, label, labels.index(label), dict(zip(section.columns, cells)), shots)
        axes.set_xscale("log", base=2)
        axes.set_xticks([int(shot) for shot in shots], shots, fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.minorticks_off()
        axes.set_title(shown(section.key), fontsize=9)
        _tidy(axes)
    fig.supxlabel("training images per class", fontsize=9)
    fig.supylabel("accuracy (%)", fontsize=9)
    _top_legend(fig, all_axes[0, 0])
    save_figure(fig, path)
    return "Accuracy over the number of shots; whiskers are standard deviations over seeds."


def _curve(axes, label: str, number: int, cells: dict[str, Cell | None], shots: Sequence[str]) -> None:
    if cells.get("0") is not None:
        axes.axhline(cells["0"].mean, color=colour(number), ls="--", lw=1.2, label=shown(label))
        return
    there = [(int(shot), cells[shot]) for shot in shots if cells.get(shot) is not None]
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
    plt, measured = pyplot(), _measured(section)
    side_by_side = min(3, len(columns))
    down = -(-len(columns) // side_by_side)
    fig, all_axes = plt.subplots(
        down,
        side_by_side,
        figsize=((0.9 + 0.7 * len(across)) * side_by_side + 0.5, (1.4 + 0.45 * len(rows)) * down),
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
        _map(axes, values)
        axes.set_xticks(range(len(across)), across, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_xlabel(names[columns_key], fontsize=8)
        axes.set_ylabel(names.get(rows_key, ""), fontsize=8)
        axes.set_title(f"{column} (%)", fontsize=10)
    save_figure(fig, path)
    over = " and ".join(names.values())
    return f"{family}: mean accuracy over {over}, {section.title}; empty fields are not finished."


def _map(axes, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    axes.imshow(values, cmap="viridis", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = value < (low + high) / 2
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if dark else "k")


def token_counts(results: Results) -> dict[str, dict[str, tuple[int, ...]]]:
    """Prompt tokens that enter each layer, by method and side, as its runs have recorded their schedules."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for line, _, _, _, outcome in results.all():
        schedules = (outcome.result or {}).get("schedules")
        if line.label not in found and schedules is not None:
            with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, SyntaxError):  # edited by hand
                sides = {side: Schedule(ast.literal_eval(schedules[side]), side).counts for side in ("text", "vision")}
                found[line.label] = sides
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
    size = (8.2, 2.6 + _legend_height(8.2, names))
    fig, all_axes = pyplot().subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    for axes, side in zip(all_axes, ("text", "vision")):
        for number, (sides, label) in enumerate(zip(methods, names)):
            counts = np.array(dict(sides)[side])
            apart = (number - (len(methods) - 1) / 2) * min(0.08, 0.6 / len(methods))  # equal lines are seen
            axes.step(range(len(counts)), counts + apart, where="mid", color=colour(number), label=label, lw=1.6)
        axes.set_xlabel(f"{side} layer", fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
        _tidy(axes)
    all_axes[0].set_ylim(bottom=-0.5)
    all_axes[0].set_ylabel("prompt tokens", fontsize=9)
    _top_legend(fig, all_axes[0])
    save_figure(fig, path)
    return "Prompt tokens that enter each layer: what a method's schedule removes, adds and carries."


def draw(experiment: Experiment, results: Results, sections: Sequence[Section], folder: Path) -> list[Figure]:
    """Draw every figure that has something to show into a folder; older ones that have nothing any more go."""
    compares = len(_labels(sections)) <= _MOST and experiment.protocol != "few_shot" and not experiment.grids
    wanted: dict[str, Callable[[Path], str]] = {
        "bars.png": lambda path: bars(experiment, sections, path) if compares else "",
        "gains.png": lambda path: gains(experiment, results, sections, path) if compares else "",
        "curves.png": lambda path: curves(sections, path) if experiment.protocol == "few_shot" else "",
        "tokens.png": lambda path: tokens(results, path),
    }
    for number, (family, keys) in enumerate(experiment.grids.items()):
        name = f"ablation{number or ''}.png"
        wanted[name] = functools.partial(heat_maps, family, keys, results, sections)
    for old in set(folder.glob("ablation*.png")) - {folder / name for name in wanted}:
        old.unlink()
    drawn = []
    for name, make in wanted.items():
        caption = make(folder / name) if _labels(sections) else ""
        if caption:
            drawn.append(Figure(name, caption))
        else:
            (folder / name).unlink(missing_ok=True)
    return drawn
