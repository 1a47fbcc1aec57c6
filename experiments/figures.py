"""The figures of a report: what these papers print."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

import numpy as np

from experiments.results import Line, Results
from experiments.spec import CROSS, Experiment, short_names
from experiments.table import AVERAGE, Cell, Section
from modprompt.schedule import Schedule
from tools.figures import pyplot, save_figure

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
_MOST_BARS = 12  # methods that one figure of bars or curves can show


class Figure(NamedTuple):
    """A drawn figure: file name, and what it shows."""

    name: str
    caption: str


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


def _top_legend(fig, axes, n: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    fig.legend(handles, labels, ncols=min(n, 5), loc="outside upper center", fontsize=9, frameon=False)


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
    fig, all_axes = plt.subplots(
        len(panels),
        figsize=(max(6.0, 1.2 + len(places) * (0.35 + 0.16 * len(labels))), 2.4 * len(panels) + 0.6),
        layout="constrained",
        squeeze=False,
    )
    for axes, (panel, methods) in zip(all_axes[:, 0], panels.items()):
        lowest = min(cell.mean for cells in methods.values() for cell in cells.values())
        for number, label in enumerate(labels):
            cells = methods.get(label, {})
            at = [places.index(place) + (number - (len(labels) - 1) / 2) * width for place in cells]
            errors = [cell.std or 0 for cell in cells.values()]
            means = [cell.mean for cell in cells.values()]
            axes.bar(at, means, width, yerr=errors, color=colour(number), label=label, error_kw={"lw": 0.8})
        axes.set_ylim(max(0, np.floor(lowest / 10) * 10 - 10), 100)
        axes.set_xticks(range(len(places)), places, rotation=25 if len(places) > 4 else 0, fontsize=8)
        axes.set_ylabel(f"{panel} (%)", fontsize=9)
        _tidy(axes)
    _top_legend(fig, all_axes[0, 0], len(labels))
    save_figure(fig, path)
    return "Accuracy on each data set; bars are means over seeds, whiskers standard deviations. The axis is cut."


def _baseline(results: Results) -> Line | None:
    return next((line for line in results.lines if not line.trains), None)


def gains(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Horizontal bars: what a method gains over zero-shot CLIP on each data set, sorted, best on top."""
    baseline = _baseline(results)
    mine = next((line.label for line in results.lines if line.family == experiment.highlight), None)
    if baseline is None or mine is None or mine == baseline.label or experiment.protocol == "few_shot":
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
        axes.set_yticks(range(len(places)), [place for place, _ in places], fontsize=8)
        axes.axvline(0, color="0.3", lw=0.8)
        axes.margins(x=0.25)
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel("points of accuracy", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(fig, path)
    return f"What {mine} gains over {baseline.label} (zero-shot), in points of accuracy, sorted."


def curves(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Accuracy over shots, a panel for each data set and the average; zero-shot CLIP is a level line."""
    if experiment.protocol != "few_shot":
        return ""
    plt, labels = pyplot(), _labels(sections)
    drawn = [section for section in sections if any(any(cells) for cells in _measured(section).values())]
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    fig, all_axes = plt.subplots(
        down, across, figsize=(3.2 * across + 0.6, 2.5 * down + 0.7), layout="constrained", squeeze=False
    )
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
        axes.set_title(AVERAGE if section.key == AVERAGE else section.title, fontsize=9)
        _tidy(axes)
    fig.supxlabel("training images per class", fontsize=9)
    fig.supylabel("accuracy (%)", fontsize=9)
    _top_legend(fig, all_axes[0, 0], len(labels))
    save_figure(fig, path)
    return "Accuracy over the number of shots; whiskers are standard deviations over seeds."


def _curve(axes, label: str, number: int, cells: dict[str, Cell | None], shots: Sequence[str]) -> None:
    if cells.get("0") is not None:
        axes.axhline(cells["0"].mean, color=colour(number), ls="--", lw=1.2, label=label)
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
        label=label,
    )


def heat_maps(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """A grid's numbers, averaged over data sets: a map for each column; one axis alone is one row of each map."""
    keys = experiment.grid_keys
    if not keys or len(keys) > 2 or not sections:
        return ""
    section, names = sections[-1], short_names(keys)
    rows_key, columns_key = (keys if len(keys) == 2 else ("", *keys))[:2]
    points = {line.label: dict(line.point) for line in results.lines if line.point}
    rows = list(dict.fromkeys(point.get(rows_key, "") for point in points.values()))
    across = list(dict.fromkeys(point[columns_key] for point in points.values()))
    columns = [column for column in section.columns if column != "0"]
    plt, measured = pyplot(), _measured(section)
    fig, all_axes = plt.subplots(
        1,
        len(columns),
        figsize=((0.9 + 0.75 * len(across)) * len(columns) + 0.5, 1.5 + 0.5 * len(rows)),
        layout="constrained",
        squeeze=False,
    )
    for axes, column in zip(all_axes[0], columns):
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
    return f"Mean accuracy over {' and '.join(names.values())}, {section.title}; empty fields are not finished."


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
        if line.label in found or not isinstance(schedules, dict):
            continue
        found[line.label] = {side: Schedule(ast.literal_eval(text), side).counts for side, text in schedules.items()}
    return found


def tokens(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Prompt tokens in front of each layer, both sides, for each method that has any."""
    counts = token_counts(results)
    labels = list(counts)
    if not labels:
        return ""
    plt = pyplot()
    fig, all_axes = plt.subplots(1, 2, figsize=(8.2, 2.8), layout="constrained", sharey=True)
    for axes, side in zip(all_axes, ("text", "vision")):
        for number, label in enumerate(labels):
            steps = counts[label][side]
            # drawn a little apart, so that equal schedules are seen
            shifted = np.array(steps) + (number - (len(labels) - 1) / 2) * 0.08
            axes.step(range(len(steps)), shifted, where="mid", color=colour(number), label=label, lw=1.6)
        axes.set_xlabel(f"{side} layer", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)
        _tidy(axes)
    all_axes[0].set_ylabel("prompt tokens", fontsize=9)
    _top_legend(fig, all_axes[0], len(labels))
    save_figure(fig, path)
    return "Prompt tokens that enter each layer: what a method's schedule removes, adds and carries."


def draw(experiment: Experiment, results: Results, sections: Sequence[Section], folder: Path) -> list[Figure]:
    """Draw every figure that has something to show into a folder; older ones that have nothing any more go."""
    few = len(_labels(sections)) <= _MOST_BARS
    wanted: dict[str, Callable[[Path], str]] = {
        "bars.png": lambda path: bars(experiment, sections, path) if few and experiment.protocol != "few_shot" else "",
        "gains.png": lambda path: gains(experiment, results, sections, path),
        "curves.png": lambda path: curves(experiment, results, sections, path),
        "ablation.png": lambda path: heat_maps(experiment, results, sections, path),
        "tokens.png": lambda path: tokens(experiment, results, sections, path),
    }
    drawn = []
    for name, make in wanted.items():
        caption = make(folder / name) if _labels(sections) else ""
        if caption:
            drawn.append(Figure(name, caption))
        else:
            (folder / name).unlink(missing_ok=True)
    return drawn
