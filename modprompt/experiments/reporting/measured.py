"""The numbers of a report as figures use them: which methods, how each looks, and the values of each seed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.by_seed import by_seed
from modprompt.experiments.reporting.figures.layout import Look, looks, names
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import AVERAGE, Cell, Section, measured_labels


def baseline(results: Results) -> str:
    """The label of the first method that trains nothing, zero-shot CLIP; "" if there is none."""
    return next((line.label for line in results.lines if not line.trains), "")


def highlighted(experiment: Experiment, results: Results) -> str:
    """The label of the method that a report is about; for a grid its first point, "" if there is none."""
    return next((line.label for line in results.lines if line.family == experiment.highlight), "")


def looks_of(parts: Sequence[tuple[Experiment, Results]]) -> dict[str, Look]:
    """How the methods of a page look, in all of its parts."""
    labels = [line.label for _, results in parts for line in results.lines]
    untrained = [baseline(results) for _, results in parts]
    return looks(labels, [highlighted(*part) for part in parts], untrained)


class Chosen(NamedTuple):
    """The methods of a figure with their looks, in the order of the tables, and a sentence if they are not all."""

    looks: dict[str, Look]
    said: str = ""

    def name(self, label: str) -> str:
        """A method's name in the figure; "" if it is not there."""
        return self.looks[label].name if label in self.looks else ""


@dataclass(frozen=True)
class Measured:
    """An experiment, its results, its tables (the last one, the average over several sets, decides), and looks."""

    experiment: Experiment
    results: Results
    sections: Sequence[Section]
    looks: Mapping[str, Look]

    @functools.cached_property
    def labels(self) -> list[str]:
        """Methods that have a number anywhere, in the order of the tables."""
        return measured_labels(self.sections)

    @property
    def mine(self) -> str:
        """The method that the report is about, if it has a number; else ""."""
        return self._if_measured(highlighted(self.experiment, self.results))

    @property
    def zero_shot(self) -> str:
        """Zero-shot CLIP, if it has a number; else ""."""
        return self._if_measured(baseline(self.results))

    def _if_measured(self, label: str) -> str:
        return label if label in self.labels else ""

    def ranked(self) -> list[str]:
        """All methods with a number, the best of the last section first."""
        return sorted(self.labels, key=lambda label: _merit(self.sections[-1], label), reverse=True)

    def looks_of(self, labels: Sequence[str]) -> dict[str, Look]:
        """The looks of some methods, with names that a figure has space for."""
        short = names(labels)
        return {label: self.looks[label]._replace(name=short[label]) for label in labels}

    def chosen(self, most: int, kept: Sequence[str] = ()) -> Chosen:
        """The methods of a figure that has space for so many.

        Args:
            most: how many the figure can hold.
            kept: labels that it shows in any case.
        """
        labels = self.labels
        if len(labels) <= most:
            return Chosen(self.looks_of(labels))
        kept = [label for label in dict.fromkeys(kept) if label in labels][:most]
        best = [label for label in self.ranked() if label not in kept][: most - len(kept)]
        section = self.sections[-1]
        told = f"The best {len(best)} of {len(labels)} methods by {section.merit} ({section.where})"
        told += f", and {', '.join(kept)}" if kept else ""
        return Chosen(self.looks_of([label for label in labels if label in {*best, *kept}]), f" {told}.")

    def closest(self, most: int, zero_shot: bool = True) -> list[str]:
        """So many methods that are looked at closely: the report's own, zero-shot CLIP, and the best of the others."""
        kept = [label for label in (self.mine, self.zero_shot if zero_shot else "") if label]
        others = [label for label in self.ranked() if label not in kept and label != self.zero_shot]
        return [*dict.fromkeys(kept), *others][:most]

    @functools.cached_property
    def panels(self) -> dict[str, dict[str, dict[str, Cell]]]:
        """Measured cells by column (base, new, H), method and data set; across data sets by the one of accuracy."""
        found: dict[str, dict[str, dict[str, Cell]]] = {}
        across = self.experiment.protocol in CROSS
        for section in self.sections:
            for label, cells in section.measured().items():
                for column, cell in zip(section.columns, cells):
                    if cell is not None:
                        panel, place = ("accuracy", column) if across else (column, section.key)
                        found.setdefault(panel, {}).setdefault(label, {})[place] = cell
        return found

    def by_seed(self, label: str, place: str, column: str) -> list[float]:
        """A number of the tables seed by seed, in percent; [] if a run is missing.

        Args:
            label: the method.
            place: a data set, or the average over all of them (across data sets: over the targets).
            column: as `panels` has it; H is that of each seed.
        """
        line = self.line(label)
        found = by_seed(self.results, line, self.datasets(place), column)
        return list(found.values()) if len(found) == len(line.seeds) else []

    def datasets(self, place: str) -> list[str]:
        """The data sets that numbers of a place are means over."""
        return [place] if place != AVERAGE else list(self.results.datasets[self.experiment.protocol in CROSS :])

    def line(self, label: str) -> Line:
        """A method of the report."""
        return next(line for line in self.results.lines if line.label == label)


def _merit(section: Section, label: str) -> tuple[int, float]:
    """What methods are ranked by: a row's number in the deciding column; rows without one come last."""
    row = dict(zip(section.columns, section.measured().get(label, ())))
    deciding, cells = row.get(section.deciding), [cell for cell in row.values() if cell is not None]
    return (2, deciding.mean) if deciding is not None else (1, cells[-1].mean) if cells else (0, 0.0)
