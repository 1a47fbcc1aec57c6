"""The numbers of a report: sections of rows and columns, from results and what was published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import alike, published
from modprompt.experiments.reporting.results import Line, Results, most_shots, shots_in_words
from modprompt.io.base_new import harmonic_mean

AVERAGE = published.AVERAGE
_TESTED_ON = ", tested on"  # ends a table's title whose columns say where
TOGETHER_TITLE = "base and new together"
ABOUT_TOGETHER = "Trained on the base classes; test images of both halves, each among the names of all classes."


class Cell(NamedTuple):
    """Mean and standard deviation (n in the denominator) over seeds, in percent; no deviation for a single number."""

    mean: float
    std: float | None = None


def named(label: str, said: str) -> str:
    """A method with remarks on its numbers."""
    return f"{label} ({said})" if said else label


class Row(NamedTuple):
    """A method's cells, None where there is no number; a published row has a source.

    group: its heading, in a report with several.
    seeds: those that its numbers are over.
    said: remarks on them; see Results.said.
    h_of: for a published row with an H, what that is computed from.
    """

    label: str
    cells: tuple[Cell | None, ...]
    source: str = ""
    group: str = ""
    seeds: tuple[int, ...] = ()
    said: str = ""
    h_of: str = ""

    @property
    def name(self) -> str:
        """Its name in tables."""
        return ", ".join(filter(None, [named(self.label, self.said), self.h_of]))


class Section(NamedTuple):
    """A table: one data set, or the average over all, or all data sets in the columns; `about` says which splits.

    unranked: columns of which no number is the best.
    details: further tables of the same, with other columns.
    """

    title: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    about: str = ""
    unranked: tuple[str, ...] = ()
    details: tuple[Section, ...] = ()

    @property
    def deciding(self) -> str:
        """The column that methods are ranked by, if they are: H, for shots that of the most, else the last."""
        return most_shots(self.columns) or ("H" if "H" in self.columns else self.columns[-1])

    @property
    def merit(self) -> str:
        """`deciding` in words."""
        if self.deciding.isdigit():
            return f"accuracy with {shots_in_words(self.deciding)}"
        if self.deciding in ("H", "accuracy"):
            return self.deciding
        return "average accuracy" if self.deciding == AVERAGE else f"accuracy, {self.deciding}"

    @property
    def where(self) -> str:
        """What that number is on."""
        return self.title.removesuffix(_TESTED_ON)

    def measured(self) -> dict[str, tuple[Cell | None, ...]]:
        """Cells by method, without published rows."""
        return {row.label: row.cells for row in self.rows if not row.source}

    def headings(self) -> dict[int, str]:
        """The groups that begin at a row, by its number."""
        before = ["", *(row.group for row in self.rows)]
        return {at: row.group for at, row in enumerate(self.rows) if row.group and row.group != before[at]}

    def best(self) -> set[tuple[int, int]]:
        """(row, column) of the highest means as printed; none where only one row has a number.

        Published rows, and rows with remarks, are not compared.
        """
        best = set()
        for column in range(len(self.columns)):
            if self.columns[column] in self.unranked:
                continue
            means = {
                number: round(cell.mean, 2)
                for number, row in enumerate(self.rows)
                if not row.source and not row.said and (cell := row.cells[column]) is not None
            }
            if len(means) > 1:
                best |= {(number, column) for number, mean in means.items() if mean == max(means.values())}
        return best


def apart(sections: Sequence[Section]) -> str:
    """A sentence for figures, which show names alone: whose numbers cannot be compared, and why."""
    rows = dict.fromkeys(row.name for section in sections for row in section.rows if row.said and any(row.cells))
    return f" Not to be compared: {', '.join(rows)}." if rows else ""


def measured_labels(sections: Sequence[Section]) -> list[str]:
    """Methods that have a measured number anywhere, in order."""
    rows = [row for section in sections for row in section.rows if not row.source]
    return list(dict.fromkeys(row.label for row in rows if any(row.cells)))


def cell_of(values: Sequence[float] | None) -> Cell | None:
    """Mean and deviation over seeds."""
    if values is None:
        return None
    return Cell(float(np.mean(values)), float(np.std(values)) if len(values) > 1 else None)


def h_cell(base: Sequence[float] | None, new: Sequence[float] | None) -> Cell | None:
    """H of the mean base and mean new accuracy, as papers print it; its deviation is that of the seeds' own H."""
    if base is None or new is None:
        return None
    own = [harmonic_mean(b, n) for b, n in zip(base, new)]
    mean = harmonic_mean(float(np.mean(base)), float(np.mean(new)))
    return Cell(mean, float(np.std(own)) if len(own) > 1 else None)


def average_over(all_values: Sequence[Sequence[float] | None]) -> list[float] | None:
    """For each seed the mean over data sets; None if a number is missing."""
    if not all_values or any(values is None for values in all_values):
        return None
    return [float(mean) for mean in np.mean(np.array(all_values), axis=0)]


def _published_row(found: published.Published, columns: Sequence[str]) -> Row:
    """A published row in some columns, None where it has no number."""
    cells = tuple(Cell(found.numbers[column]) if column in found.numbers else None for column in columns)
    return Row(f"{found.label}, published", cells, found.source, h_of=found.h_of)


def _without_run(
    experiment: Experiment, results: Results, dataset: str, columns: Sequence[str], title: str
) -> tuple[Section, ...]:
    """A table of the published methods that have no line among the results; none in an experiment with grids."""
    if experiment.grids:
        return ()
    ours = {line.published or line.family.partition(" ")[0] for line in results.lines}  # "MaPLe (logs)" of other trees
    found = [one for one in published.rows(experiment, dataset) if one.method not in ours]
    rows = tuple(_published_row(one, columns) for one in found)
    about = "Other people's figures, none of them measured here."
    return (Section(f"{title}: published, without a run here", dataset, tuple(columns), rows, about),) if rows else ()


def row_of(experiment: Experiment, results: Results, line: Line, dataset: str, cells: Iterable[Cell | None]) -> Row:
    """A method's row in the table of a data set, or in that of all of them."""
    datasets = [dataset] if dataset in results.datasets else results.datasets
    said = results.said(line, datasets, experiment.seeds)
    return Row(line.label, tuple(cells), seeds=line.seeds, said=said)


def _rows(
    experiment: Experiment,
    results: Results,
    dataset: str,
    columns: Sequence[str],
    cells_of: Callable[[Line], Iterable[Cell | None]],
) -> tuple[Row, ...]:
    rows, known = [], published.rows(experiment, dataset)
    for line in results.in_groups():
        group = line.group if results.has_groups() else ""
        rows.append(row_of(experiment, results, line, dataset, cells_of(line))._replace(group=group))
        for found in known:
            if found.method == line.published:
                named = found._replace(label=found.label.replace(found.method, line.label, 1))
                rows.append(_published_row(named, columns)._replace(group=group))
    return tuple(rows)


def _base2new_cells(values: Sequence[list[float] | None]) -> tuple[Cell | None, ...]:
    """Base, new and H; if both were also tested together, the H of that."""
    base, new, *together = values
    return (cell_of(base), cell_of(new), h_cell(base, new), *([h_cell(*together)] if together else []))


def _plain_cells(values: Sequence[list[float] | None]) -> tuple[Cell | None, ...]:
    return tuple(map(cell_of, values))


def _together_cells(values: Sequence[list[float] | None]) -> tuple[Cell | None, ...]:
    """Base and new images among all classes, and their H."""
    _, _, base, new = values
    return cell_of(base), cell_of(new), h_cell(base, new)


def images_of(results: Results, dataset: str) -> str:
    """What runs say about a data set's split, their trainings on it, the images that they chose on and, if not test
    images, were measured on."""
    found = [(line, one, one.result) for line, *_, one in results.all(datasets=[dataset]) if one.result]
    splits = {alike.split_facts(one).get("status") for _, _, one in found} - {None, ""}
    said: dict[str, dict[str, None]] = {}
    for line, outcome, one in found:
        chosen, tested = one.get("selected_on"), one.get("tested_on")
        own = [f"measured on {tested}"] if tested not in (None, "test") else []
        for what in [*own, *([f"selected on {chosen}"] if chosen else []), *outcome.notes]:
            said.setdefault(what, {})[line.label] = None
    texts = [f"split: {', '.join(sorted(map(str, splits)))}"] if splits else []
    return "; ".join([*texts, *(f"{what}: {', '.join(labels)}" for what, labels in sorted(said.items()))])


def _average(results: Results, line: Line, datasets: Sequence[str], column: str) -> list[float] | None:
    if results.parted(line, datasets):
        return None
    return average_over([results.values(line, dataset, column) for dataset in datasets])


def _by_dataset(experiment: Experiment, results: Results) -> list[Section]:
    """A section for each data set, and one for the average over several."""
    halves = experiment.protocol == BASE2NEW
    columns = (*ALONE, "H", *(["H (all)"] if experiment.together else [])) if halves else results.columns
    cells_of = _base2new_cells if halves else _plain_cells

    def section(title: str, key: str, values_of: Callable[[Line, str], list[float] | None]) -> Section:
        def values(line: Line) -> list[list[float] | None]:
            return [values_of(line, column) for column in results.columns]

        rows = _rows(experiment, results, key, columns, lambda line: cells_of(values(line)))
        details = _without_run(experiment, results, key, columns, title)
        if experiment.together:
            measured = [row for row in rows if not row.source]
            own = tuple(row._replace(cells=_together_cells(values(line_of[row.label]))) for row in measured)
            together = Section(f"{title}: {TOGETHER_TITLE}", key, (*TOGETHER.values(), "H (all)"), own, ABOUT_TOGETHER)
            details = (together, *details)
        return Section(title, key, columns, rows, details=details)

    line_of = {line.label: line for line in results.lines}

    def average(line: Line, column: str) -> list[float] | None:
        return _average(results, line, results.datasets, column)

    def of_dataset(dataset: str) -> Section:
        made = section(dataset, dataset, lambda line, column: results.values(line, dataset, column))
        return made._replace(about=images_of(results, dataset))

    sections = [of_dataset(dataset) for dataset in results.datasets]
    if len(results.datasets) > 1:
        sections.append(section(f"average over {len(results.datasets)} data sets", AVERAGE, average))
    return sections


def _of_all_datasets(experiment: Experiment, results: Results) -> list[Section]:
    """One section: a column for the source, for each target, and for the average over the targets."""
    columns = (*results.datasets, AVERAGE)

    def cells(line: Line) -> Iterable[Cell | None]:
        values = [results.values(line, dataset, "accuracy") for dataset in results.datasets]
        return [*map(cell_of, values), cell_of(_average(results, line, results.datasets[1:], "accuracy"))]

    rows = _rows(experiment, results, AVERAGE, columns, cells)
    known = {dataset: images_of(results, dataset) for dataset in results.datasets}
    about = "; ".join(f"{dataset} {text}" for dataset, text in known.items() if text)
    title = f"trained on {experiment.source}{_TESTED_ON}"
    others = _without_run(experiment, results, AVERAGE, columns, title)
    return [Section(title, AVERAGE, columns, rows, about, details=others)]


def sections(experiment: Experiment, results: Results) -> list[Section]:
    """The tables of a report."""
    make = _of_all_datasets if experiment.protocol in CROSS else _by_dataset
    return make(experiment, results)


def lacking(results: Results) -> list[str]:
    """Why means are missing: every run that has no result, grouped by reason, one line for each
    method, data set and reason; and where runs differ in what must be equal, each method."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for line, dataset, column, seed, outcome in results.all():
        if not outcome.is_there:
            grouped.setdefault((line.label, dataset, outcome.reason), []).append(f"{column} seed {seed}")
    lines = [f"{label}, {dataset}: {', '.join(runs)}: {reason}" for (label, dataset, reason), runs in grouped.items()]
    return [*lines, *_parted(results)]


def _parted(results: Results) -> list[str]:
    lines = []
    for line in results.lines:
        parted = {name: results.parted(line, [name]) for name in results.datasets}
        if not any(parted.values()):
            parted = {"all data sets": results.parted(line, results.datasets)}
        lines += [f"{line.label}, {name}: {alike.in_words(found)}" for name, found in parted.items() if found]
    return lines
