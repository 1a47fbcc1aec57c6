"""The figures of what tests and trainings have left: classes, confusions, reliability, losses."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Sequence

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.class_figure import Confusion, class_bars, confusions
from modprompt.experiments.reporting.figure_layout import Look, looks
from modprompt.experiments.reporting.figure_methods import baseline, chosen, highlighted, ranked
from modprompt.experiments.reporting.figures import Figure, remove_picture
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import Section, apart, measured_labels
from modprompt.experiments.reporting.training_figures import loss_curves, reliability
from modprompt.experiments.reporting.views import Tested, View, losses, tested, views

_MOST_CURVES = 8  # of a panel
_MOST_PANELS = 24  # of a figure


class Close(NamedTuple):
    """What was looked at closely.

    figures: drawn, those of a data set with its name as their place.
    tests: of each data set and column, by method.
    faults: what cannot be shown, a line each.
    """

    figures: list[Figure]
    tests: dict[tuple[str, str], dict[str, Tested]]
    faults: list[str]


def closest(experiment: Experiment, results: Results, sections: Sequence[Section]) -> list[str]:
    """The methods whose classes are shown: the report's own, zero-shot CLIP, and the best of the others."""
    zero_shot, order = baseline(results), ranked(sections)
    kept = [
        label for label in (highlighted(experiment, results), zero_shot.label if zero_shot else "") if label in order
    ]
    return list(dict.fromkeys([*kept, *[label for label in order if label not in kept][: 3 - len(kept)]]))


def _read(experiment: Experiment, results: Results, sections: Sequence[Section]) -> tuple[list[View], Close]:
    """What tests have left, of the methods that figures show."""
    own, close = closest(experiment, results, sections), Close([], {}, [])
    best = chosen(sections, _MOST_CURVES, own).looks if measured_labels(sections) else {}
    shown = views(experiment, results)
    labels = dict.fromkeys([*own, *best])
    for view in shown:
        of_view = {label: tested(view.runs.get(label, ()), close.faults) for label in labels}
        close.tests[view.dataset, view.column] = {label: one for label, one in of_view.items() if one is not None}
    return shown, close


def look(experiment: Experiment, results: Results, sections: Sequence[Section], folder: Path | None) -> Close:
    """Read what tests have left, and draw what there is to show into a folder; older figures of nothing go.

    Args:
        experiment: what was run.
        results: what came of it.
        sections: the tables.
        folder: of the report; None if nothing can be drawn.
    """
    shown, close = _read(experiment, results, sections)
    if folder is None:
        return close
    labels = measured_labels(sections)
    own = closest(experiment, results, sections)
    for dataset in dict.fromkeys(view.dataset for view in shown):
        halves = {column: tests for (name, column), tests in close.tests.items() if name == dataset}
        close.figures.extend(_of_classes(dataset, halves, looks(labels, own), folder))
    best = chosen(sections, _MOST_CURVES, own) if labels else None
    if best is not None:
        close.figures.extend(_reliability(close, best.looks, best.said, folder))
        close.figures.extend(_losses(experiment, shown, close, best.looks, best.said, folder))
    told = [figure._replace(caption=figure.caption + apart(sections)) for figure in close.figures]
    close = close._replace(figures=told)
    drawn = {folder / figure.name for figure in close.figures}
    for kind in ("classes_*", "confusion_*", "reliability", "losses"):
        for old in set(folder.glob(f"{kind}.png")) - drawn:
            remove_picture(old)
    return close


def _of_classes(dataset: str, halves: dict[str, dict[str, Tested]], own: dict[str, Look], folder: Path) -> list[Figure]:
    there = {half: {label: tests[label] for label in own if label in tests} for half, tests in halves.items()}
    there = {half: tests for half, tests in there.items() if tests}
    if not there:
        return []
    name = f"classes_{dataset}.png"
    accuracy = {half: {label: one.accuracy_pct() for label, one in tests.items()} for half, tests in there.items()}
    figures = [Figure(name, class_bars(accuracy, own, folder / name), dataset)]
    name, panels = f"confusion_{dataset}.png", {}
    for half, tests in there.items():
        classes = next(iter(tests.values())).names
        panels[half] = {
            label: Confusion(one.confusion, one.names) for label, one in tests.items() if one.names == classes
        }
    return [*figures, Figure(name, confusions(panels, folder / name), dataset)]


def _title(dataset: str, column: str) -> str:
    return dataset if column == "accuracy" else f"{dataset} {column}"


def _left_out(shown: int, whole: int) -> str:
    return f" The first {shown} of {whole} panels." if shown < whole else ""


def _reliability(close: Close, best: dict[str, Look], said: str, folder: Path) -> list[Figure]:
    panels = {
        _title(*place): {
            label: tests[label].calibration for label in best if label in tests and tests[label].calibration[:, 0].any()
        }
        for place, tests in close.tests.items()
    }
    panels = {title: methods for title, methods in panels.items() if methods}
    kept = dict(list(panels.items())[:_MOST_PANELS])
    if not kept:
        return []
    caption = reliability(kept, best, folder / "reliability.png") + said + _left_out(len(kept), len(panels))
    return [Figure("reliability.png", caption)]


def _losses(
    experiment: Experiment, shown: Sequence[View], close: Close, best: dict[str, Look], said: str, folder: Path
) -> list[Figure]:
    """Of trainings: not those of new classes, and across data sets those of the source alone."""
    panels = {}
    for view in shown:
        trained = view.column != "new" and (experiment.protocol not in CROSS or view.dataset == experiment.source)
        found = {label: losses(view.runs.get(label, ()), close.faults) for label in best} if trained else {}
        curves = {label: curve for label, curve in found.items() if curve is not None}
        if curves:
            panels[_title(view.dataset, view.column)] = curves
    kept = dict(list(panels.items())[:_MOST_PANELS])
    if not kept:
        return []
    caption = loss_curves(kept, best, folder / "losses.png") + said + _left_out(len(kept), len(panels))
    return [Figure("losses.png", caption)]
