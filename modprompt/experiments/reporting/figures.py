"""The figures of a report, what these papers print: a short function for each, which gives its caption.

A figure that has nothing to show is not drawn, and its caption is empty. Where one cannot hold all methods it shows the
best, and says so.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.method import short_names
from modprompt.experiments.reporting.cost import Cost, accuracy_name, costs
from modprompt.experiments.reporting.figure_layout import (
    COLOURS,
    COLUMN_IN,
    MOST_METHODS,
    PAGE_IN,
    Look,
    looks,
    names,
    panels,
    shown,
)
from modprompt.experiments.reporting.results import ALL_IMAGES, Results
from modprompt.experiments.reporting.table import Cell, Section, apart, measured_labels
from modprompt.experiments.reporting.views import Diagnostics, Tested, losses
from modprompt.feature import features, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Cells = dict[str, dict[str, Cell]]  # by method and data set
WHISKERS = "whiskers are standard deviations over seeds (n in the denominator)"
MOST_CURVES = 8  # of a panel of what tests and trainings have left
_MOST_CURVES = 12  # of a panel of few shots that can be told apart
MOST_PANELS = 36  # of a page
_MOST_ROWS = 40  # of a figure on one page
_MOST_CLASSES = 20  # of a panel whose names are read
_MOST_NUMBERS = 12  # classes whose confusions are written in numbers
_MOST_ACROSS = 14  # fields of a map across a page whose numbers are of the usual size
MOST_WHISKERS = 4  # curves of a panel whose whiskers can be told apart
_FILLED = 0.84  # of a group that bars take
_BAR_IN = 0.034  # of the thinnest bar whose hatch is seen
_BARS_SIDE_BY_SIDE = 30  # in a panel of a third of a page
_POINTS = 60  # of a curve of losses, each a mean over steps
_TURNED: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}  # names below an axis
# what reading a schedule that was edited by hand raises; the last two of one that is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)
_KINDS = (
    "bars", "gains", "curves", "tokens", "cost", "ablation*",
    "classes_*", "confusion_*", "reliability", "losses",
)  # fmt: skip


class Figure(NamedTuple):
    """A drawn figure: file name, what it shows, and the data set that it is of; "" if it is of several."""

    name: str
    caption: str
    place: str = ""


def draw(
    experiment: Experiment, results: Results, sections: Sequence[Section], left: Diagnostics, folder: Path
) -> list[Figure]:
    """Draw every figure that has something to show into a folder; older ones that have nothing any more go.

    Args:
        experiment: what was run.
        results: what came of it.
        sections: the tables.
        left: what tests have left; its faults get a line for what cannot be shown.
        folder: of the report.
    """
    drawn = []
    for name, place, make in _wanted(experiment, results, sections, left):
        caption = make(folder / name)
        if caption:
            drawn.append(Figure(name, caption + (apart(sections) if name != "tokens.png" else ""), place))
    there = {Path(figure.name).stem for figure in drawn}
    kinds = (*_KINDS, *(name for one in features() for name in one.figures))
    for old in (path for kind in kinds for path in folder.glob(f"{kind}.p[nd][gf]") if path.stem not in there):
        old.unlink(missing_ok=True)
    return drawn


def _wanted(
    experiment: Experiment, results: Results, sections: Sequence[Section], left: Diagnostics
) -> Iterator[tuple[str, str, Callable[[Path], str]]]:
    """Of each figure its file, the data set that it is of, and what draws it."""
    report = experiment, results, sections
    if experiment.added is not None:
        for name, make in named(experiment.protocol).report().figures(results):
            yield name, "", make
    if not measured_labels(sections):
        return
    if experiment.protocol == "few_shot":
        yield "curves.png", "", functools.partial(curves, *report)
    elif experiment.added is None and not experiment.grids:
        yield "bars.png", "", functools.partial(bars, *report)
        yield "gains.png", "", functools.partial(gains, *report)
    if experiment.added is None:
        yield "tokens.png", "", functools.partial(tokens, results, ranked(sections))
        yield "cost.png", "", functools.partial(accuracy_over_cost, *report)
        for number, (family, keys) in enumerate(experiment.grids.items()):
            yield f"ablation{number or ''}.png", "", functools.partial(heat_maps, family, keys, results, sections)
    own = looks(measured_labels(sections), closest(*report))
    for dataset in dict.fromkeys(dataset for dataset, _ in left.tests):
        halves = {half: tests for (name, half), tests in left.tests.items() if name == dataset}
        halves = {half: {label: tests[label] for label in own if label in tests} for half, tests in halves.items()}
        halves = {half: tests for half, tests in halves.items() if tests}
        yield f"classes_{dataset}.png", dataset, functools.partial(class_bars, halves, own)
        yield f"confusion_{dataset}.png", dataset, functools.partial(confusions, halves)
    best = chosen(sections, MOST_CURVES, list(own))
    yield "reliability.png", "", functools.partial(reliability, left, best)
    yield "losses.png", "", functools.partial(loss_curves, experiment, left, best)


def left_out(experiment: Experiment) -> list[str]:
    """What no figure shows and somebody may look for, a line each."""
    return [
        f"{family}: no map of a grid over {len(keys)} settings: a map has one or two"
        for family, keys in experiment.grids.items()
        if len(keys) > 2 and experiment.added is None
    ]


# ------------------------------------------------------------------ which methods


class Chosen(NamedTuple):
    """The methods of a figure with their looks, in the order of the tables, and a sentence if they are not all."""

    looks: dict[str, Look]
    said: str = ""

    def name(self, label: str) -> str:
        """What a method is called in the figure; "" if it is not there."""
        return self.looks[label].name if label in self.looks else ""


def baseline(results: Results) -> str:
    """The label of the first method that trains nothing, zero-shot CLIP; "" if there is none."""
    return next((line.label for line in results.lines if not line.trains), "")


def highlighted(experiment: Experiment, results: Results) -> str:
    """The label of the method that a report is about; of a grid its first point, "" if there is none."""
    return next((line.label for line in results.lines if line.family == experiment.highlight), "")


def _merit(section: Section, label: str) -> tuple[int, float]:
    """What the best are the best by: a row's number in the deciding column; rows without one stand behind."""
    row = dict(zip(section.columns, section.measured().get(label, ())))
    deciding, cells = row.get(section.deciding), [cell for cell in row.values() if cell is not None]
    return (2, deciding.mean) if deciding is not None else (1, cells[-1].mean) if cells else (0, 0.0)


def ranked(sections: Sequence[Section]) -> list[str]:
    """All methods with a number, the best of the last section first."""
    return sorted(measured_labels(sections), key=lambda label: _merit(sections[-1], label), reverse=True)


def chosen(sections: Sequence[Section], most: int, kept: Sequence[str] = ()) -> Chosen:
    """The methods of a figure that has room for so many.

    Args:
        sections: the tables of the report; the last, the average if there is one, decides.
        most: how many the figure can hold.
        kept: labels that it shows in any case.
    """
    labels = measured_labels(sections)
    if len(labels) <= most:
        return Chosen(looks(labels, labels))
    kept = [label for label in dict.fromkeys(kept) if label in labels][:most]
    best = [label for label in ranked(sections) if label not in kept][: most - len(kept)]
    section = sections[-1]
    told = f"The best {len(best)} of {len(labels)} methods by {section.deciding} ({section.title})"
    told += f", and {', '.join(kept)}" if kept else ""
    return Chosen(looks(labels, [label for label in labels if label in {*best, *kept}]), f" {told}.")


def closest(experiment: Experiment, results: Results, sections: Sequence[Section]) -> list[str]:
    """The methods whose classes are shown: the report's own, zero-shot CLIP, and the best of the others."""
    order = ranked(sections)
    kept = [label for label in (highlighted(experiment, results), baseline(results)) if label in order]
    return list(dict.fromkeys([*kept, *[label for label in order if label not in kept][: 3 - len(kept)]]))


# ------------------------------------------------------------------ what panels are drawn with


def _places(number: int, of: int, at: Sequence[int]) -> tuple[list[float], float]:
    """Where the bars of a method stand, and how thick they are, in groups that are 1 apart."""
    thick = _FILLED / of
    return [place + (number - (of - 1) / 2) * thick for place in at], thick


def _points(axes: Axes, points: Sequence[tuple[float, Cell]], **how: Any) -> None:
    """A curve with whiskers."""
    errors = [cell.std or 0 for _, cell in points]
    axes.errorbar([at for at, _ in points], [cell.mean for _, cell in points], yerr=errors, elinewidth=0.7, **how)


def _field(
    axes: Axes,
    values: NDArray[Any],
    low: float,
    high: float,
    told: Callable[[float], str],
    letters_pt: float = 6,
    colours: str = "Blues",
) -> None:
    """A map of numbers, each written into its field; nan is an empty one.

    Args:
        axes: where.
        values: (rows, columns).
        low: the value of the first colour.
        high: that of the last.
        told: what is written of a value.
        letters_pt: size of what is written.
        colours: matplotlib's name of a colour map.
    """
    picture = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else told(value)
        if text:
            dark = picture.to_rgba(value)[1] < 0.6  # by its green, which is most of what is seen as light
            how: dict[str, Any] = {"ha": "center", "va": "center", "color": "w" if dark else "0.1"}
            axes.text(column, row, text, fontsize=letters_pt, **how)
    down, across = values.shape
    axes.hlines(np.arange(0.5, down - 1), -0.5, across - 0.5, colors="w", lw=0.5)
    axes.vlines(np.arange(0.5, across - 1), -0.5, down - 0.5, colors="w", lw=0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="0.8")


def first_of(shown: int, whole: int, what: str) -> str:
    return f" The first {shown} of {whole} {what}." if shown < whole else ""


# ------------------------------------------------------------------ accuracy


def _by_panel(experiment: Experiment, sections: Sequence[Section]) -> dict[str, Cells]:
    """Measured cells by panel, method and data set."""
    found: dict[str, Cells] = {}
    for section in sections:
        for label, cells in section.measured().items():
            for column, cell in zip(section.columns, cells):
                if cell is not None:
                    panel, place = ("accuracy", column) if experiment.protocol in CROSS else (column, section.key)
                    found.setdefault(panel, {}).setdefault(label, {})[place] = cell
    return found


def bars(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Grouped bars: a group for each data set, a bar for each method, a panel for each of base, new and H."""
    found = _by_panel(experiment, sections)
    order = sections[0].columns if experiment.protocol in CROSS else [section.key for section in sections]
    filled = {place for methods in found.values() for cells in methods.values() for place in cells}
    places = [place for place in order if place in filled]
    mine = highlighted(experiment, results)
    room = max(2, int((PAGE_IN - 0.6) * _FILLED / (_BAR_IN * len(places))))
    picked = chosen(sections, min(room, MOST_METHODS), [mine, baseline(results)])
    few = len(places) * len(picked.looks) <= _BARS_SIDE_BY_SIDE
    width = COLUMN_IN if len(found) == 1 and few and len(places) <= 4 else PAGE_IN
    across, high = (len(found), 1.9) if few or len(found) == 1 else (1, 1.5)
    cells_of = [methods.get(label, {}) for methods in found.values() for label in picked.looks]
    low, top = _limits([cell for cells in cells_of for cell in cells.values()])
    strong, above = picked.name(mine), "col" if across < len(found) else False
    with panels(path, [""] * len(found), across=across, width=width, high=high, strong=strong, sharex=above) as grid:
        for axes, (panel, methods) in zip(grid, found.items()):
            for number, (label, look) in enumerate(picked.looks.items()):
                cells = methods.get(label, {})
                at, thick = _places(number, len(picked.looks), [places.index(place) for place in cells])
                errors = [cell.std or 0 for cell in cells.values()]
                whiskers: dict[str, Any] = (
                    {"yerr": errors, "error_kw": {"lw": 0.6, "capsize": 0}} if any(errors) else {}
                )
                axes.bar(at, [cell.mean for cell in cells.values()], thick, **look.bar(), **whiskers)
            turned = _TURNED if len(places) > 4 else {}
            axes.set_xticks(range(len(places)), list(names(places, 20).values()), **turned)
            axes.tick_params(axis="x", length=0)
            axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(low, top), ylabel=f"{shown(panel)} (%)")
    return f"Accuracy on each data set; bars are means over seeds, {WHISKERS}. The axis is cut." + picked.said


def _limits(cells: Sequence[Cell]) -> tuple[float, float]:
    """Of all panels, so that they can be compared: whole tens around what is drawn, and some room below."""
    low, high = min(cell.mean for cell in cells), max(cell.mean + (cell.std or 0) for cell in cells)
    return max(0.0, float(np.floor(low / 10)) * 10 - 10), min(100.0, float(np.ceil(high / 10)) * 10)


def gains(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Horizontal bars: what a method gains over zero-shot CLIP on each data set, sorted, best on top, on one scale."""
    zero_shot, mine = baseline(results), highlighted(experiment, results)
    found = {}
    for panel, methods in _by_panel(experiment, sections).items():
        ours, theirs = methods.get(mine, {}), methods.get(zero_shot, {})
        both = {place: ours[place].mean - theirs[place].mean for place in ours if place in theirs}
        if both:
            found[panel] = sorted(both.items(), key=lambda item: item[1])
    if not found or mine == zero_shot:
        return ""
    every = [gain for places in found.values() for _, gain in places]
    low, high = min(0.0, *every), max(0.0, *every)
    room = 0.5 * (high - low) or 1.0  # for the numbers behind the bars
    size: dict[str, Any] = {"across": len(found), "width": PAGE_IN if len(found) > 1 else COLUMN_IN}
    with panels(path, list(found), **size, high=0.55 + 0.19 * max(map(len, found.values())), sharex=True) as grid:
        for axes, places in zip(grid, found.values()):
            values = [gain for _, gain in places]
            drawn = axes.barh(range(len(places)), values, color=[COLOURS[2 if gain >= 0 else 3] for gain in values])
            axes.bar_label(drawn, [f"{gain:+.2f}" for gain in values], fontsize=7, padding=2)
            axes.set_yticks(range(len(places)), list(names([place for place, _ in places], 18).values()))
            axes.axvline(0, color="0.3", lw=0.8)
            axes.grid(visible=False)
            axes.set_xlabel("points of accuracy")
        grid[0].set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 or low == high else 0))
    return f"What {mine} gains over {zero_shot} (zero-shot), in points of accuracy, sorted."


def curves(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """Accuracy over shots, a panel for each data set and the average; zero-shot CLIP is a level line.

    Trainings on all images are points of their own behind the last shots.
    """
    drawn = [section for section in sections if any(any(cells) for cells in section.measured().values())]
    if not drawn:
        return ""
    mine = highlighted(experiment, results)
    picked = chosen(sections, _MOST_CURVES, [mine, baseline(results)])
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
                for places, line in ((shots, look.line), (of_all, "none")):
                    points = [(at, cell) for name, at in places.items() if (cell := cells.get(name)) is not None]
                    if points:
                        _points(axes, points, **{**look.curve(), "ls": line})
            axes.set_xscale("log", base=2)
            axes.set_xticks([*shots.values(), *of_all.values()], [*shots, *of_all])
            axes.minorticks_off()
    apart = f" {ALL_IMAGES}: trained on all images, of which the axis does not say how many." * bool(of_all)
    return f"Accuracy over the number of shots; {WHISKERS}.{apart}" + picked.said


def heat_maps(family: str, keys: Sequence[str], results: Results, sections: Sequence[Section], path: Path) -> str:
    """A grid's numbers, averaged over data sets: a map for each column; one axis alone is one row of each map."""
    if len(keys) > 2 or not sections:
        return ""
    section, names = sections[-1], short_names(keys)
    rows_key, columns_key = (keys if len(keys) == 2 else ("", *keys))[:2]
    points = {line.label: dict(line.point) for line in results.lines if line.point and line.family == family}
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
            _field(axes, values, low, max(high, low + 1e-6), "{:.2f}".format, letters_pt, "viridis")
            axes.set_xticks(range(len(steps)), list(map(shown, steps)))
            axes.set_yticks(range(len(rows)), list(map(shown, rows)))
            axes.set(xlabel=shown(names[columns_key]), ylabel=shown(names.get(rows_key, "")))
    over = " and ".join(names.values())
    return f"{family}: mean accuracy over {over}, {section.title}; empty fields are not finished."


# ------------------------------------------------------------------ costs, tokens

_COSTS: dict[str, Callable[[Cost], float | None]] = {
    "seconds of training": lambda one: None if one.training_s is None else one.training_s.mean,
    "trained parameters": lambda one: None if one.parameters is None else one.parameters[1],
}


def accuracy_over_cost(experiment: Experiment, results: Results, sections: Sequence[Section], path: Path) -> str:
    """A point for each method, costs on a logarithmic axis; what trains nothing is a level line."""
    found = costs(experiment, results, sections)
    if sum(any(of(one) for of in _COSTS.values()) for one in found if one.accuracy) < 2:
        return ""
    mine, untrained = highlighted(experiment, results), {line.label for line in results.lines if not line.trains}
    picked = chosen(sections, MOST_METHODS, [mine, baseline(results)])
    drawn = [(one, picked.looks[one.label]) for one in found if one.label in picked.looks]
    with panels(path, ["", ""], across=2, high=2.3, strong=picked.name(mine), sharey=True) as grid:
        for axes, (name, of) in zip(grid, _COSTS.items()):
            values = []
            for one, look in drawn:
                cell, value = one.accuracy, of(one)
                if cell is None:
                    continue
                if one.label in untrained:
                    axes.axhline(cell.mean, **look.level())
                elif value is not None:
                    values.append(value)
                    _points(axes, [(value, cell)], **{**look.curve(), "ls": "none", "ms": 5.5, "capsize": 0})
            axes.grid(axis="both")
            axes.set_xlabel(name)
            _scale(axes, values)
        grid[0].set_ylabel(shown(accuracy_name(sections).partition(",")[0]))
    return (
        f"{accuracy_name(sections)}, over what it costs: seconds of one training, and parameters that are trained; "
        f"{WHISKERS}.{picked.said}"
    )


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis over a decade or more, with 0 at its left, if that is among the values."""
    above = [value for value in values if value]
    if not above:
        return
    spread = max(1.0, (10 * min(above) / max(above)) ** 0.5)
    low, high = min(above) / spread / 1.5, max(above) * spread * 1.5
    steps = (1, 2, 5) if high < 50 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
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


def token_counts(results: Results) -> dict[str, list[dict[str, tuple[int, ...]]]]:
    """Prompt tokens that enter each layer, by method and side, as its runs have recorded their schedules, each once."""
    found: dict[str, list[dict[str, tuple[int, ...]]]] = {}
    known: list[tuple[str, Any]] = []
    for line, _, _, _, outcome in results.all():
        schedules = (outcome.result or {}).get("schedules")
        if schedules is None or (line.label, schedules) in known:
            continue
        known.append((line.label, schedules))
        with contextlib.suppress(*_EDITED):
            sides = {side: Schedule(ast.literal_eval(schedules[side]), side).counts for side in ("text", "vision")}
            if all(sides.values()):
                found.setdefault(line.label, []).append(sides)
    return found


def tokens(results: Results, best: Sequence[str], path: Path) -> str:
    """Prompt tokens in front of each layer, both sides: a row for each method, the number in each field.

    Args:
        results: of the runs.
        best: the methods, the best first, of which those are drawn that there is room for.
        path: of the figure.
    """
    counts = token_counts(results)
    if not counts:
        return ""
    kept = list(dict.fromkeys(label for label in (*best, *counts) if label in counts))[:_MOST_ROWS]
    rows = {label: own[0] for label, own in counts.items() if label in kept}
    most = max(max(side) for sides in rows.values() for side in sides.values())
    with panels(path, ["", ""], across=2, high=0.55 + 0.17 * len(rows), sharey=True) as grid:
        for axes, side in zip(grid, ("text", "vision")):
            layers = max(len(sides[side]) for sides in rows.values())
            values = np.full((len(rows), layers), np.nan)
            for number, sides in enumerate(rows.values()):
                values[number, : len(sides[side])] = sides[side]
            _field(axes, values, 0, 1.3 * max(most, 1), "{:.0f}".format)
            step = 1 if layers <= 16 else 2
            axes.set_xticks(range(0, layers, step), list(map(str, range(1, layers + 1, step))))
            axes.set_yticks(range(len(rows)), list(names(list(rows)).values()))
            axes.set_xlabel(f"{side} layer")
    said = f" The best {len(rows)} of {len(counts)} methods." if len(rows) < len(counts) else ""
    several = [f"{label} ({len(counts[label])})" for label in rows if len(counts[label]) > 1]
    finders = " and ".join(one.stage.plural for one in features() if one.finds("SCHEDULE_TEXT"))
    said += f" Of several schedules, as {finders} find them, the first: {', '.join(several)}." if several else ""
    return "Prompt tokens that enter each layer: what a method's schedule removes, adds and carries." + said


# ------------------------------------------------------------------ what tests and trainings have left

Halves = Mapping[str, Mapping[str, Tested]]  # by half (base, new) and method


def class_bars(halves: Halves, looks: Mapping[str, Look], path: Path) -> str:
    """Accuracy of each class, a bar for each method, a panel for each half; of many classes those that differ most."""
    if not halves:
        return ""
    of_half = {half: {label: one.accuracy_pct() for label, one in tests.items()} for half, tests in halves.items()}
    drawn = {half: _telling(methods) for half, methods in of_half.items()}
    most = max(map(len, drawn.values()))
    size: dict[str, Any] = {"across": len(drawn), "width": PAGE_IN, "high": 0.4 + (0.06 + 0.08 * len(looks)) * most}
    with panels(path, list(drawn), **size, sharex=True) as grid:
        for axes, (half, classes) in zip(grid, drawn.items()):
            for number, (label, look) in enumerate(looks.items()):
                own = of_half[half].get(label, {})
                at, thick = _places(number, len(looks), [row for row, name in enumerate(classes) if name in own])
                axes.barh(at, [own[name] for name in classes if name in own], thick, **look.bar())
            axes.grid(visible=False)
            axes.grid(axis="x")
            axes.set_yticks(range(len(classes)), list(names(classes, 24).values()), fontsize=6)
            axes.tick_params(axis="y", length=0)
            axes.set(xlim=(0, 100), ylim=(most - 0.5, -0.5), xlabel="accuracy (%)")
    wholes = {half: len({name for own in methods.values() for name in own}) for half, methods in of_half.items()}
    said = _of_many("Those classes in which methods differ most", drawn, wholes)
    return "Accuracy of each class, of the images of all seeds together." + said


def _of_many(what: str, drawn: Mapping[str, Sequence[Any]], wholes: Mapping[str, int]) -> str:
    """A sentence on halves of which not all classes are drawn."""
    counts = [f"{len(own)} of {wholes[half]} ({half})" for half, own in drawn.items() if len(own) < wholes[half]]
    return f" {what}: {', '.join(counts)}." if counts else ""


def _telling(methods: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The classes that are drawn, those with the highest accuracy of the first method on top."""
    classes = list(dict.fromkeys(name for own in methods.values() for name in own))
    spread = {name: np.ptp([own[name] for own in methods.values() if name in own]) for name in classes}
    kept = set(sorted(classes, key=lambda name: -spread[name])[:_MOST_CLASSES])
    first = next(iter(methods.values()))
    return sorted((name for name in classes if name in kept), key=lambda name: -first.get(name, 0.0))


def confusions(halves: Halves, path: Path) -> str:
    """What classes were taken for, in percent of a class's images: a row of panels for each half, one for each method.

    The first method of a half says which classes are drawn; others stand beside it if they have the same classes.
    """
    if not halves:
        return ""
    first = {half: next(iter(tests.values())) for half, tests in halves.items()}
    kept = {half: _mixed_up(one.confusion) for half, one in first.items()}
    rows = [
        [(half, label) for label, one in tests.items() if one.names == first[half].names]
        for half, tests in halves.items()
    ]
    across, most = max(map(len, rows)), max(map(len, kept.values()))
    places = [place for row in rows for place in (*row, *[("", "")] * (across - len(row)))]
    titles = [f"{label}, {half}" if half else "" for half, label in places]
    width = min(PAGE_IN, COLUMN_IN * across)
    high = 1.0 + min(width / across - 0.6, 0.13 * most + 0.6)
    with panels(path, titles, across=across, width=width, high=high) as grid:
        for number, (axes, (half, label)) in enumerate(zip(grid, places)):
            if half:
                _confusion(axes, halves[half][label], kept[half], named=number % across == 0)
    wholes = {half: len(one.names) for half, one in first.items()}
    said = _of_many("The classes that are mixed up most", kept, wholes)
    return "What the images of a class (row) were taken for (column), in percent, of all seeds together." + said


def _mixed_up(confusion: NDArray[np.int64]) -> list[int]:
    """The classes that are mixed up most, in their order; all where they can be read."""
    wrong = confusion - np.diag(np.diagonal(confusion))
    most = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
    return sorted(int(number) for number in most)


def _confusion(axes: Axes, tested: Tested, kept: Sequence[int], named: bool) -> None:
    images = np.maximum(tested.confusion.sum(axis=1), 1)[:, None]
    shares = (100 * tested.confusion / images)[np.ix_(kept, kept)]
    few = len(kept) <= _MOST_NUMBERS
    _field(axes, shares, 0, 100, lambda share: f"{share:.0f}" if few and round(share) else "", 5)
    texts = list(names([tested.names[number] for number in kept], 18).values())
    axes.set_xticks(range(len(kept)), texts, fontsize=5, rotation=90)
    axes.set_yticks(range(len(kept)), texts if named else [""] * len(texts), fontsize=5)


def _title(dataset: str, column: str) -> str:
    return dataset if column == "accuracy" else f"{dataset} {column}"


def reliability(left: Diagnostics, best: Chosen, path: Path) -> str:
    """Accuracy over confidence, a curve for each method and a panel for each data set and half."""
    found = {}
    for place, tests in left.tests.items():
        known = {label: tests[label].calibration for label in best.looks if label in tests}
        known = {label: bins for label, bins in known.items() if bins[:, 0].any()}
        if known:
            found[_title(*place)] = known
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    with panels(path, list(drawn), x="confidence", y="accuracy") as grid:
        for axes, methods in zip(grid, drawn.values()):
            axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
            for label, bins in methods.items():
                there = bins[bins[:, 0] > 0]
                axes.plot(there[:, 1], there[:, 2], **best.looks[label].curve())
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
    return (
        "Reliability: accuracy of the images whose most probable class has so much of the probability, in 15 equally "
        "wide bins; on the dotted line confidence is what it says, below it too high."
        + best.said
        + first_of(len(drawn), len(found), "panels")
    )


def loss_curves(experiment: Experiment, left: Diagnostics, best: Chosen, path: Path) -> str:
    """Loss over epochs, a curve for each method and a panel for each training: not for new classes, and across data
    sets for the source alone."""
    from matplotlib.ticker import LogLocator  # late, as all of matplotlib

    found = {}
    for view in left.views:
        if view.column != "new" and (experiment.protocol not in CROSS or view.dataset == experiment.source):
            own = {label: losses(view.runs.get(label, ()), left.faults) for label in best.looks}
            found[_title(view.dataset, view.column)] = {label: one for label, one in own.items() if one is not None}
    found = {title: methods for title, methods in found.items() if methods}
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    with panels(path, list(drawn), x="epoch", y="training loss") as grid:
        for axes, methods in zip(grid, drawn.values()):
            for label, (epochs, loss) in methods.items():
                x, y = _thinned(epochs), _thinned(loss)
                axes.plot(x, y, **{**best.looks[label].curve(), "ms": 3}, markevery=max(1, len(x) // 6))
            if all((loss > 0).all() for _, loss in methods.values()):
                axes.set_yscale("log")
                axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:g}")
                axes.tick_params(which="minor", labelsize=7)
    return (
        "Training loss, the mean over seeds and over neighbouring steps; methods have losses of their own, so that "
        "heights of different methods cannot be compared." + best.said + first_of(len(drawn), len(found), "panels")
    )


def _thinned(values: Numbers) -> Numbers:
    """Means over neighbours, at most so many as there are points."""
    return np.array([part.mean() for part in np.array_split(values, min(_POINTS, len(values)))])
