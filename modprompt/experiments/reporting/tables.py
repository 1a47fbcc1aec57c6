"""The tables of a report: means and deviations of the long table of runs, and how they look in Markdown, CSV and LaTeX.

Names in them are text, whatever they look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import alike, published
from modprompt.experiments.reporting.results import Line, Results
from modprompt.io.base_new import harmonic_mean
from modprompt.io.images import BY_CLASS
from modprompt.io.text import markdown_cell, markdown_text, one_line

AVERAGE = published.AVERAGE
ACCURACY = "accuracy"  # the column of runs of the cross protocols, whose tables have data sets in columns
EMPTY = "-"
STD = "mean ± population standard deviation"
TOGETHER_TITLE = "base and new classes tested together"
_HALVES = {"H": ALONE, "H (all)": tuple(TOGETHER.values())}
_TESTED_ON = " and tested on each data set"  # ends the title of a table with a column for each data set
_ABOUT_TOGETHER = (
    "The methods are trained on the base classes. Each test image, of a base class or of a new class, is classified "
    "among all classes. H (all) is the harmonic mean of base (all) and new (all)."
)
_H_OF_THE_MEANS = (
    "H is the harmonic mean of the mean base accuracy and the mean new accuracy in the row. The standard deviation "
    "of H is computed from the H of each seed."
)


def most_shots(columns: Iterable[str]) -> str:
    """The column of the most shots, else of unequal ones; empty if there is none."""
    of_shots = (column for column in columns if column.isdigit() or column == BY_CLASS)
    return max(of_shots, key=lambda column: 0.5 if column == BY_CLASS else int(column), default="")


def shots_in_words(column: str) -> str:
    """A column of shots, with its unit."""
    return f"{column} shot{'s' * (column != '1')}"


class Cell(NamedTuple):
    """Mean and standard deviation (n in the denominator) over seeds, in percent; no deviation for a single number."""

    mean: float
    std: float | None = None


def cell_of(values: Sequence[float] | None) -> Cell | None:
    """Mean and deviation over seeds."""
    if values is None:
        return None
    return Cell(float(np.mean(values)), float(np.std(values)) if len(values) > 1 else None)


class Numbers(NamedTuple):
    """Accuracies in percent by place (a data set, or AVERAGE) and column; nan where there is no number.

    by_seed: rows (method, seed); H of a seed is that of its own base and new accuracy.
    mean, std: rows are methods; nan unless all their seeds have a number. H is that of the means.
    """

    by_seed: pd.DataFrame
    mean: pd.DataFrame
    std: pd.DataFrame

    def cell(self, label: str, place: str, column: str) -> Cell | None:
        """A cell of a table; None without a number."""
        if (place, column) not in self.mean.columns or np.isnan(mean := self.mean.at[label, (place, column)]):
            return None
        many = len(self.by_seed.loc[label]) > 1
        return Cell(float(mean), float(self.std.at[label, (place, column)]) if many else None)

    def of_seeds(self, label: str, place: str, column: str) -> dict[int, float]:
        """The numbers of the seeds that have one."""
        if (place, column) not in self.by_seed.columns:
            return {}
        values: dict[int, float] = self.by_seed.loc[label][place, column].dropna().to_dict()
        return values


def harmonic_means(base: pd.Series, new: pd.Series) -> pd.Series:
    """H of base and new accuracies, one by one; nan where one is missing."""
    return base.combine(new, harmonic_mean)


def _add_h(table: pd.DataFrame, places: Iterable[str]) -> None:
    """Add the columns of H, of the columns that are there."""
    for place in places:
        for name, (base, new) in _HALVES.items():
            if (place, base) in table and (place, new) in table:
                table[place, name] = harmonic_means(table[place, base], table[place, new])


def numbers(experiment: Experiment, results: Results) -> Numbers:
    """The means over seeds, and over data sets seed by seed (across data sets: over the targets)."""
    across = experiment.protocol in CROSS
    rows = [(line.label, seed) for line in results.lines for seed in line.seeds]
    columns = pd.MultiIndex.from_product([results.datasets, results.columns])
    if not rows:
        empty = pd.DataFrame(columns=columns)
        return Numbers(empty, empty, empty)
    runs = results.long_table().set_index(["method", "seed", "dataset", "column"])["accuracy_pct"]
    index = pd.MultiIndex.from_tuples(rows, names=["method", "seed"])
    wide = runs.unstack(["dataset", "column"]).reindex(index=index, columns=columns)
    targets, places = results.datasets[across:], list(results.datasets)
    if across or len(targets) > 1:
        parted = [line.label for line in results.lines if results.parted(line, targets)]
        for column in results.columns:
            values = wide[[(target, column) for target in targets]].to_numpy().mean(axis=1)
            wide[AVERAGE, column] = np.where(index.isin(parted, level="method"), np.nan, values)
        places.append(AVERAGE)
    _add_h(wide, places)
    of_method = {line.label: wide.loc[line.label].to_numpy() for line in results.lines}
    mean, std = (
        pd.DataFrame({label: take(values, axis=0) for label, values in of_method.items()}, index=wide.columns).T
        for take in (np.mean, np.std)
    )
    _add_h(mean, places)
    return Numbers(wide, mean, std)


def named(label: str, said: str) -> str:
    """A method with remarks on its numbers."""
    return f"{label} ({said})" if said else label


class Row(NamedTuple):
    """A method's cells, None where there is no number."""

    label: str
    cells: tuple[Cell | None, ...]
    source: str = ""  # of a published row
    group: str = ""  # its heading, in a report with several
    seeds: tuple[int, ...] = ()  # those that its numbers are over
    said: str = ""  # remarks on them; see Results.said
    h_of: str = ""  # of a published row with an H: what that is computed from

    @property
    def name(self) -> str:
        """Its name in tables."""
        return ", ".join(filter(None, [named(self.label, self.said), self.h_of]))


class Section(NamedTuple):
    """A table: one data set, or the average over all, or all data sets in the columns."""

    title: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    about: str = ""  # its test images, and which split they are of
    unranked: tuple[str, ...] = ()  # columns of which no number is the best
    details: tuple[Section, ...] = ()  # further tables of the same, with other columns

    @property
    def deciding(self) -> str:
        """The column that methods are compared by: H, for shots that of the most, else the last."""
        return most_shots(self.columns) or ("H" if "H" in self.columns else self.columns[-1])

    @property
    def merit(self) -> str:
        """`deciding` in words."""
        if self.deciding.isdigit():
            return f"accuracy with {shots_in_words(self.deciding)}"
        if self.deciding in ("H", ACCURACY):
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
        for column, name in enumerate(self.columns):
            means = {
                number: round(cell.mean, 2)
                for number, row in enumerate(self.rows)
                if not row.source and not row.said and (cell := row.cells[column]) is not None
            }
            if len(means) > 1 and name not in self.unranked:
                best |= {(number, column) for number, mean in means.items() if mean == max(means.values())}
        return best


def with_details(sections: Sequence[Section]) -> list[Section]:
    """Tables with the further ones behind each."""
    return [one for section in sections for one in (section, *section.details)]


def apart(sections: Sequence[Section]) -> str:
    """A sentence for figures, which show names alone: whose numbers cannot be compared, and why."""
    rows = dict.fromkeys(row.name for section in sections for row in section.rows if row.said and any(row.cells))
    return f" Not to be compared: {', '.join(rows)}." if rows else ""


def row_of(experiment: Experiment, results: Results, line: Line, place: str, cells: Iterable[Cell | None]) -> Row:
    """A method's row in the table of a data set, or in that of all of them."""
    datasets = [place] if place in results.datasets else results.datasets
    said, group = results.said(line, datasets, experiment.seeds), line.group if results.has_groups() else ""
    return Row(line.label, tuple(cells), group=group, seeds=line.seeds, said=said)


class Place(NamedTuple):
    """A table's title, its key (a data set, or AVERAGE), and its columns, each with the place and column of its
    numbers."""

    title: str
    key: str
    columns: dict[str, tuple[str, str]]


def places(experiment: Experiment, results: Results) -> list[Place]:
    """The tables of a report; the average over several data sets is the last."""
    if experiment.protocol in CROSS:
        columns = {name: (name, ACCURACY) for name in (*results.datasets, AVERAGE)}
        return [Place(f"trained on {experiment.source}{_TESTED_ON}", AVERAGE, columns)]
    names = results.columns
    if experiment.protocol == BASE2NEW:
        names = (*ALONE, "H", *(["H (all)"] if experiment.together else []))
    titles = {dataset: dataset for dataset in results.datasets}
    if len(results.datasets) > 1:
        titles[AVERAGE] = f"average over {len(results.datasets)} data sets"
    return [Place(title, key, {name: (key, name) for name in names}) for key, title in titles.items()]


def sections(experiment: Experiment, results: Results, found: Numbers) -> list[Section]:
    """The same with their numbers, published rows, and the further tables of each."""
    return [_section(experiment, results, found, place) for place in places(experiment, results)]


def _section(experiment: Experiment, results: Results, found: Numbers, place: Place) -> Section:
    title, key, columns = place.title, place.key, tuple(place.columns)
    known, rows, details = published.rows(experiment, key), list[Row](), list[Section]()
    for line in results.in_groups():
        cells = (found.cell(line.label, *where) for where in place.columns.values())
        rows.append(row_of(experiment, results, line, key, cells))
        for one in known:
            if one.method == line.published:
                label = one.label.replace(one.method, line.label, 1)
                rows.append(_published_row(one._replace(label=label), columns)._replace(group=rows[-1].group))
    if experiment.together:
        names = (*TOGETHER.values(), "H (all)")
        own = [
            row._replace(cells=tuple(found.cell(row.label, key, name) for name in names))
            for row in rows
            if not row.source
        ]
        details.append(Section(f"{title}: {TOGETHER_TITLE}", key, names, tuple(own), _ABOUT_TOGETHER))
    ours = {line.published or line.family.partition(" ")[0] for line in results.lines}  # "MaPLe (logs)" of other trees
    others = tuple(_published_row(one, columns) for one in known if one.method not in ours)
    if others and not experiment.grids:
        said = "These numbers were published by other authors. None of them was measured in this experiment."
        details.append(
            Section(
                f"{title}: published results of methods without a run in this experiment", key, columns, others, said
            )
        )
    about = images_of(results, key)
    if experiment.protocol in CROSS:
        texts = {dataset: images_of(results, dataset) for dataset in results.datasets}
        about = " ".join(f"{dataset}: {text}" for dataset, text in texts.items() if text)
    return Section(title, key, columns, tuple(rows), about, details=tuple(details))


def _published_row(found: published.Published, columns: Sequence[str]) -> Row:
    cells = tuple(Cell(found.numbers[column]) if column in found.numbers else None for column in columns)
    return Row(f"{found.label}, published", cells, found.source, h_of=found.h_of)


def images_of(results: Results, place: str) -> str:
    """How many test images a table's numbers are of and what one of them weighs, what runs say about the split and
    their trainings on it, and the images that they chose on and, if not test images, were measured on."""
    datasets = [place] if place in results.datasets else results.datasets
    counts: dict[tuple[str, int], dict[str, None]] = {}  # columns by data set and number of images
    said: dict[str, dict[str, None]] = {}
    splits = set[str]()
    for line, dataset, column, _, outcome in results.all(datasets=datasets):
        result = outcome.result or {}
        if outcome.accuracy_pct is not None and result.get("images"):
            counts.setdefault((dataset, int(result["images"])), {})[column] = None
        status = str(alike.split_facts(result).get("status") or "")
        splits.add(alike.SPLIT_STATUS.get(status, status))
        tested, chosen = result.get("tested_on"), result.get("selected_on")
        own = [f"measured on {tested}"] if tested not in (None, "test") else []
        own += [f"selected on {chosen}"] if chosen else []
        for what in [*own, *outcome.notes]:
            said.setdefault(what, {})[line.label] = None
    texts = [_of_images(counts, len(datasets))] if counts else []
    if place in results.datasets:
        texts += [f"Split: {', '.join(sorted(filter(None, splits)))}."] if any(splits) else []
        texts += [f"{', '.join(labels)}: {what.rstrip('.')}." for what, labels in sorted(said.items())]
    return " ".join(texts)


def _of_images(counts: Mapping[tuple[str, int], Mapping[str, None]], datasets: int) -> str:
    """Numbers of test images, by data set and half where there are several, and what one weighs in the mean of all."""
    told = []
    for (dataset, images), columns in counts.items():
        if {*columns} <= {*TOGETHER.values()}:
            halves = "base and new together"
        else:
            halves = " and ".join(columns) if {*columns} <= {*ALONE} else ""
        where = " ".join(filter(None, [dataset if datasets > 1 else "", halves]))
        told.append(f"{images:,}{f' ({where})' if where else ''}")
    weights = sorted({f"{100 / images / datasets:.2g}" for _, images in counts}, key=float)
    points = " to ".join(dict.fromkeys([weights[0], weights[-1]]))
    change = f"One test image changes the {'average' if datasets > 1 else 'accuracy'} by {points} percentage points."
    return f"Number of test images: {', '.join(told)}. {change}"


def lacking(results: Results) -> list[str]:
    """Why means are missing: the runs that have no result, a line for each method, data set and reason; and where runs
    differ in what must be equal, each method."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for line, dataset, column, seed, outcome in results.all():
        if not outcome.is_there:
            run = f"{shots_in_words(column) if column.isdigit() else column} seed {seed}".removeprefix(f"{ACCURACY} ")
            grouped.setdefault((line.label, dataset, outcome.reason), []).append(run)
    texts = [
        f"{label} has no result on {dataset} for {', '.join(runs)} ({reason})."
        for (label, dataset, reason), runs in grouped.items()
    ]
    for line in results.lines:
        parted = {name: results.parted(line, [name]) for name in results.datasets}
        if not any(parted.values()):
            parted = {"all data sets": results.parted(line, results.datasets)}
        texts += [f"{line.label} on {name} has {alike.in_words(one)}." for name, one in parted.items() if one]
    return texts


def untested(results: Results) -> list[str]:
    """A line for each method and data set whose finished runs have no accuracy, for lack of test images."""
    seeds: dict[str, list[str]] = {}
    for line, dataset, _, seed, outcome in results.all():
        if outcome.is_there and outcome.accuracy_pct is None:
            seeds.setdefault(f"{line.label} on {dataset}", []).append(str(seed))
    return [
        f"{what}, seed{'s' * (len(own) > 1)} {', '.join(own)}: there are no test images, and the run has no accuracy."
        for what, own in seeds.items()
    ]


def caption(experiment: Experiment, found: Sequence[Section]) -> str:
    """What the numbers are; for protocol active more is said elsewhere."""
    seeds = experiment.seeds
    over = f", as {STD} over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f" for seed {seeds[0]}"
    is_apart = any(row.said for section in with_details(found) for row in section.rows)
    why = (
        " If the numbers of a row cannot be compared with the other rows, the reason follows the name of the method, "
        "and no number in that row is bold."
    )
    columns = " Columns give the number of training images per class." if experiment.protocol == "few_shot" else ""
    columns += f" {_H_OF_THE_MEANS}" if any("H" in section.columns for section in found) else ""
    return (
        f"All numbers are accuracies in percent{over}. The best measured result of each column is bold. "
        f"A dash (-) marks a number that is missing or unknown.{why if is_apart else ''}{columns}"
    )


def sources(found: Sequence[Section]) -> list[str]:
    """The sources of published rows, each once."""
    texts = [f"{row.label}: {row.source}." for section in with_details(found) for row in section.rows if row.source]
    return list(dict.fromkeys(texts))


# ---------------------------------------------------------------------- how they look


def cell_text(cell: Cell | None, form: str = ".2f") -> str:
    """A cell's mean and deviation; a dash where there is no number."""
    if cell is None:
        return EMPTY
    return f"{cell.mean:{form}}" + ("" if cell.std is None else f" ± {cell.std:{form}}")


def cell_numbers(cell: Cell | None) -> list[str]:
    """The same as two cells of a CSV; empty where there is no number."""
    return ["" if number is None else f"{number:.4f}" for number in cell or (None, None)]


def _texts(
    section: Section, escape: Callable[[str], str], bold: str, slant: str, number: Callable[[Cell | None, bool], str]
) -> Iterator[list[str]]:
    """The rows of a table as texts: published rows slanted, and a bold row for each heading."""
    best, headings = section.best(), section.headings()
    for at, row in enumerate(section.rows):
        if at in headings:
            yield [bold % headings[at], *[""] * len(section.columns)]
        name = escape(row.name)
        cells = (number(cell, (at, column) in best) for column, cell in enumerate(row.cells))
        yield [slant % name if row.source else name, *cells]


def markdown_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, whose cells are Markdown."""
    lines = [f"| {' | '.join(texts)} |" for texts in (head, *rows)]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def markdown_texts(
    title: str, about: str, head: Sequence[str], rows: Sequence[Sequence[str]], own_form: bool = False
) -> list[str]:
    """A table of texts with its heading; nothing without rows.

    own_form: whether all cells but the names that rows begin with are in a form of ours, which Markdown leaves alone.
    """
    if not rows:
        return []
    shown = [[text if own_form and at else markdown_cell(text) for at, text in enumerate(texts)] for texts in rows]
    lines = markdown_rows(list(map(markdown_cell, head)), shown)
    return ["", f"## {markdown_text(title)}", "", markdown_text(about), "", *lines]


def markdown(
    found: Sequence[Section], title: str, about: str, notes: Mapping[str, Sequence[str]], more: Sequence[str] = ()
) -> str:
    """All tables, the best numbers in bold, `more` lines, then lists by their titles."""
    lines = [f"# {markdown_text(title)}", "", about]
    for section in with_details(found):
        rows = _texts(
            section, markdown_text, "**%s**", "*%s*", lambda cell, best: f"{'**' * best}{cell_text(cell)}{'**' * best}"
        )
        table = markdown_rows([markdown_text(text) for text in ("method", *section.columns)], rows)
        said = ["", markdown_text(section.about)] if section.about else []
        lines += ["", f"## {markdown_text(section.title)}", "", *table, *said]
    lines += more
    for heading, texts in notes.items():
        lines += ["", f"{heading}:", "", *(f"- {markdown_text(text)}" for text in texts)] if texts else []
    return "\n".join(lines) + "\n"


def csv_of(found: Sequence[Section]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a report's one table of numbers: all tables, and the further ones of the same columns;
    a cell without a number is empty."""
    columns = found[0].columns if found else ()
    grouped = any(section.headings() for section in found)
    names = [
        f"{one_line(column)}_{what}{'' if column == 'labels' else '_pct'}"
        for column in columns
        for what in ("mean", "population_std")
    ]
    head = ["table", *(["group"] if grouped else []), "method", *names, "seeds", "said", "published_in"]
    return head, [
        [
            one_line(section.key),
            *([row.group] * grouped),
            one_line(row.label),
            *(number for cell in row.cells for number in cell_numbers(cell)),
            " ".join(map(str, row.seeds)),
            one_line(row.said),
            one_line(row.source),
        ]
        for section in with_details(found)
        if section.columns == columns
        for row in section.rows
    ]


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}  # which the oldest font encoding lacks
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {c: f"{{{c}}}" for c in "[]*"}  # after the end of a row they would be its options
)


def latex_text(text: str) -> str:
    """Text with LaTeX's own characters escaped, in one line."""
    return one_line(text).translate(_LATEX)


def latex_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with booktabs, whose cells are LaTeX; caption and head are text."""
    frame = pd.DataFrame(list(rows), columns=list(map(latex_text, head)))
    how = {"position": "t", "position_float": "centering", "column_format": f"l{'c' * (len(head) - 1)}"}
    return str(frame.style.hide(axis="index").to_latex(hrules=True, caption=latex_text(caption), **how))


def latex(found: Sequence[Section], title: str, about: str) -> str:
    r"""A table for each section, with booktabs: \usepackage{booktabs} and \input this file."""

    def number(cell: Cell | None, best: bool) -> str:
        if cell is None:
            return "--"
        mean = rf"\textbf{{{cell.mean:.2f}}}" if best else f"{cell.mean:.2f}"
        return mean if cell.std is None else rf"{mean} {{\scriptsize $\pm$ {cell.std:.2f}}}"

    tables = ["% The tables need \\usepackage{booktabs}.\n"]
    for section in with_details(found):
        rows = _texts(section, latex_text, r"\textbf{%s}", r"\textit{%s}", number)
        images = f" {section.about}" if section.about else ""
        tables.append(latex_table(f"{title}: {section.title}.{images} {about}", ["Method", *section.columns], rows))
    return "\n".join(tables)
