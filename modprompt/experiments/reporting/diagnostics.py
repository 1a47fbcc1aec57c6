"""Diagnostics of a report: what tests recorded, and what its page shows besides tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.figures.draw import MOST_CLOSE
from modprompt.experiments.reporting.finding import finding
from modprompt.experiments.reporting.measured import Measured
from modprompt.experiments.reporting.mistakes import Images, gallery
from modprompt.experiments.reporting.origins import origins
from modprompt.experiments.reporting.page import More
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import AVERAGE
from modprompt.experiments.reporting.views import Diagnostics, Tested, tested, views


def read(measured: Measured) -> Diagnostics:
    """What tests recorded, for the methods whose classes and reliability are shown."""
    left = Diagnostics(views(measured.experiment, measured.results), {}, [])
    for view in left.views if measured.labels else ():
        found = {label: tested(view.runs.get(label, ()), left.faults) for label in measured.closest(MOST_CLOSE)}
        left.tests[view.dataset, view.column] = {label: one for label, one in found.items() if one is not None}
    return left


def more(measured: Measured, left: Diagnostics, data: Path | None, attention: int) -> tuple[More, list[str]]:
    """What else a page shows, and a message for each thing that it cannot show.

    Args:
        measured: the results.
        left: what tests recorded.
        data: folder of the data sets; None if it is not known.
        attention: test images of each data set that are shown with attention.
    """
    experiment, results = measured.experiment, measured.results
    images, faults = Images(data), list[str]()
    own = [
        line.label
        for line in results.lines
        if line.family == experiment.highlight or line.panel == experiment.highlight
    ]
    mine = own if len(own) < len({line.label for line in results.lines}) else []
    mistakes = {}
    for dataset, (label, tests) in _mistaken(measured, left).items():
        pictures = gallery(dataset, tests, images)
        if pictures:
            several = any(line.label == label and len(line.seeds) > 1 for line in results.lines)
            mistakes[dataset] = (f"{label}, seed {tests[0].result.get('seed')}" if several else label, pictures)
        lacking = sum(not one.picture for one in pictures)
        if lacking:
            faults.append(f"{lacking} of {len(pictures)} pictures of the worst mistakes on {dataset}: not below {data}")
    seen: dict[str, Any] = {}
    if attention:
        from modprompt.experiments.reporting import attention_pictures  # late: it brings torch

        seen = attention_pictures.of_report(experiment, results, left, images, attention, faults)
    return More(mine, _origins(experiment, results), mistakes, seen, finding=finding(measured)), faults


def _mistaken(measured: Measured, left: Diagnostics) -> dict[str, tuple[str, list[Tested]]]:
    """By data set the method whose mistakes are shown, the report's own where it has any, and its tests."""
    found: dict[str, tuple[str, list[Tested]]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in left.tests):
        for label in measured.closest(MOST_CLOSE):
            tests = [one[label] for (name, _), one in left.tests.items() if name == dataset and label in one]
            if any(one.wrong for one in tests):
                found[dataset] = (label, tests)
                break
    return found


def _origins(experiment: Experiment, results: Results) -> dict[str, Any]:
    if experiment.protocol in CROSS:  # one table of all data sets
        return {AVERAGE: origins(results, results.datasets)}
    return {dataset: origins(results, [dataset]) for dataset in results.datasets}
