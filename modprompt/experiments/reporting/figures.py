"""The figures of a report: what these papers print."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

from modprompt.experiments.plan.experiment import ACTIVE, Experiment
from modprompt.experiments.reporting.accuracy_figures import bars, gains
from modprompt.experiments.reporting.cost import costs
from modprompt.experiments.reporting.cost_figure import accuracy_over_cost
from modprompt.experiments.reporting.curve_figure import curves
from modprompt.experiments.reporting.figure_methods import ranked
from modprompt.experiments.reporting.grid_figure import heat_maps
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.rounds_figure import KINDS
from modprompt.experiments.reporting.rounds_figure import draw as rounds_figure
from modprompt.experiments.reporting.table import Section, apart, measured_labels
from modprompt.experiments.reporting.token_figure import tokens


class Figure(NamedTuple):
    """A drawn figure: file name, what it shows, and the data set that it is of; "" if it is of several."""

    name: str
    caption: str
    place: str = ""


def draw(experiment: Experiment, results: Results, sections: Sequence[Section], folder: Path) -> list[Figure]:
    """Draw every figure that has something to show into a folder; older ones that have nothing any more go."""
    compares = experiment.protocol not in ("few_shot", ACTIVE) and not experiment.grids
    few_shot = experiment.protocol == "few_shot"
    has_rounds = experiment.protocol == ACTIVE
    found = costs(experiment, results, sections)
    wanted: dict[str, Callable[[Path], str]] = {
        "bars.png": lambda path: bars(experiment, results, sections, path) if compares else "",
        "gains.png": lambda path: gains(experiment, results, sections, path) if compares else "",
        "curves.png": lambda path: curves(experiment, results, sections, path) if few_shot else "",
        "tokens.png": lambda path: tokens(results, path, ranked(sections)) if not has_rounds else "",
    }
    wanted["cost.png"] = functools.partial(accuracy_over_cost, experiment, results, sections, found)
    for name, kind in KINDS.items():
        wanted[name] = functools.partial(rounds_figure, kind, results) if has_rounds else lambda path: ""
    for number, (family, keys) in enumerate(experiment.grids.items() if not has_rounds else ()):
        name = f"ablation{number or ''}.png"
        wanted[name] = functools.partial(heat_maps, family, keys, results, sections)
    for old in set(folder.glob("ablation*.png")) - {folder / name for name in wanted}:
        remove_picture(old)
    drawn = []
    for name, make in wanted.items():
        caption = make(folder / name) if has_rounds or measured_labels(sections) else ""
        if caption:
            drawn.append(Figure(name, caption + (apart(sections) if name != "tokens.png" else "")))
        else:
            remove_picture(folder / name)
    return drawn


def left_out(experiment: Experiment) -> list[str]:
    """What no figure shows and somebody may look for, a line each."""
    return [
        f"{family}: no map of a grid over {len(keys)} settings: a map has one or two"
        for family, keys in experiment.grids.items()
        if len(keys) > 2 and experiment.protocol != ACTIVE
    ]


def remove_picture(picture: Path) -> None:
    """Remove a figure of an earlier report, and its PDF."""
    picture.unlink(missing_ok=True)
    picture.with_suffix(".pdf").unlink(missing_ok=True)
