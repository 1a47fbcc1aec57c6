"""Which methods a figure shows where it cannot hold all of a report: the best, and what it says then."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.figure_layout import Look, looks
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import Section, measured_labels


class Chosen(NamedTuple):
    """The methods of a figure with their looks, in the order of the tables, and a sentence if they are not all."""

    looks: dict[str, Look]
    said: str = ""


def baseline(results: Results) -> Line | None:
    """The first method that trains nothing: zero-shot CLIP."""
    return next((line for line in results.lines if not line.trains), None)


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
