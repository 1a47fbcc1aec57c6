"""The tables of a report: means and standard deviations over seeds, and their form in Markdown, CSV and LaTeX.

Names of methods and data sets are always shown literally, whatever characters they contain.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from modprompt.data.published import OURS
from modprompt.experiments.plan.experiment import BASE2NEW, CROSS
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import published
from modprompt.experiments.reporting.notes import shots_text
from modprompt.experiments.reporting.runs import Runs, seeds_text
from modprompt.io.base_new import harmonic_mean
from modprompt.io.result import BY_CLASS, NEW, NOT_KNOWN, of_unknown
from modprompt.io.text import markdown_cell, markdown_text, one_line

AVERAGE = published.AVERAGE
ACCURACY = "accuracy"  # the column of the runs of protocols across data sets, whose tables have a column per data set
EMPTY = "-"
STD = "mean ± population standard deviation"
SPLIT_STATUS = {OURS: "drawn by modprompt", NOT_KNOWN: "of unknown origin"}
_TESTED_ON = " and tested on each data set"  # the end of the title of a table with a column per data set
_HALVES = {"H": ALONE, "H (all)": tuple(TOGETHER.values())}
_ABOUT_TOGETHER = (
    "The methods are trained on the base classes. Each test image, of a base class or of a new class, is classified "
    "among all classes. H (all) is the harmonic mean of base (all) and new (all)."
)
_H_OF_THE_MEANS = (
    "H is the harmonic mean of the mean base accuracy and the mean new accuracy in the row. The standard deviation "
    "of H is computed from the H of each seed."
)
OOD_COLUMNS = {  # the columns of a table of OOD detection: the score and the key in a result
    f"{name}, {score}": (score, key)
    for score in ("probability", "energy")
    for name, key in (("AUROC", "auroc_pct"), ("FPR at 95% TPR", "fpr95_pct"))
}
AUROC = tuple(column for column in OOD_COLUMNS if column.startswith("AUROC"))  # the only columns to be maximized
_ABOUT_OOD = (
    "The test images of the training classes (known) are separated from images of {} (unknown) by a score; a high "
    "score means known. All numbers are in percent."
)

# ---------------------------------------------------------------------- means over seeds


@dataclasses.dataclass(frozen=True, eq=False)
class Means:
    """Numbers in percent by data set (or AVERAGE) and column; NaN where there is no number.

    Attributes:
        by_seed: a row for each method and seed. H is computed from the base and new accuracy of the seed.
        mean, std: a row for each method, NaN unless all seeds have a number. H is computed from the means. The
            standard deviation (n in the denominator) is NaN for a method with one seed.
    """

    by_seed: pd.DataFrame
    mean: pd.DataFrame
    std: pd.DataFrame

    def of_seeds(self, label: str, place: tuple[str, str]) -> dict[int, float]:
        """Return the numbers of a method by seed, without seeds that have no number."""
        return dict(self._seeds.get((place, label), {}))

    @functools.cached_property
    def _seeds(self) -> dict[tuple[tuple[str, str], str], dict[int, float]]:
        """The known numbers by seed, for each place and method; a report reads each of them many times."""
        numbers: dict[Any, dict[int, float]] = {}
        for place, column in self.by_seed.items():
            for (label, seed), number in column.dropna().items():
                numbers.setdefault((place, label), {})[seed] = number
        return numbers


def _means_of_seeds(by_seed: pd.DataFrame) -> Means:
    """Return the means and standard deviations over the seeds of each method."""
    methods = by_seed.groupby(level=0, sort=False)
    whole = methods.count().eq(methods.size(), axis=0)
    std = methods.std(ddof=0).where(whole).where(methods.size() > 1, axis=0)
    return Means(by_seed, methods.mean().where(whole), std)


def most_shots(columns: Iterable[str]) -> str:
    """Return the column with the most shots per class; "" if no column is a number of shots."""
    of_shots = (column for column in columns if column.isdigit() or column == BY_CLASS)
    return max(of_shots, key=lambda column: 0.5 if column == BY_CLASS else int(column), default="")


def harmonic_means(base: pd.Series, new: pd.Series) -> pd.Series:
    """Return the harmonic mean of each pair of base and new accuracies in percent."""
    return base.combine(new, harmonic_mean)


def _add_harmonic_means(table: pd.DataFrame) -> None:
    """Add the column H of each data set that has the columns base and new, and H (all) likewise."""
    for place in dict.fromkeys(table.columns.get_level_values(0)):
        for name, (base, new) in _HALVES.items():
            if (place, base) in table and (place, new) in table:
                table[place, name] = harmonic_means(table[place, base], table[place, new])


def _add_average(by_seed: pd.DataFrame, datasets: Sequence[str], mixed: Sequence[str] = ()) -> None:
    """Add the average over data sets of each column, seed by seed.

    Args:
        by_seed: numbers by method and seed, with columns of data set and column.
        datasets: the data sets of the average.
        mixed: methods whose runs cannot be averaged over data sets.
    """
    for column in dict.fromkeys(by_seed.columns.get_level_values(1)):
        average = by_seed[[(dataset, column) for dataset in datasets]].mean(axis=1, skipna=False)
        by_seed[AVERAGE, column] = average.mask(by_seed.index.isin(mixed, level="method"))


def mean_and_h(runs: Runs, by_seed: pd.DataFrame, targets: Sequence[str], has_average: bool) -> Means:
    """Return the means over seeds, with H and with the average over data sets if `has_average` is true."""
    if has_average:
        mixed = [label for label in runs.methods["label"] if runs.mixture(label, runs.datasets)]
        _add_average(by_seed, targets, mixed)
    _add_harmonic_means(by_seed)
    means = _means_of_seeds(by_seed)
    _add_harmonic_means(means.mean)
    return means


def means_of(runs: Runs) -> Means:
    """Return the mean accuracies over seeds, on each data set and on average over the (target) data sets."""
    targets = runs.datasets[runs.experiment.protocol in CROSS :]
    columns = pd.MultiIndex.from_product([runs.datasets, runs.columns])
    if runs.frame.empty:
        empty = pd.DataFrame(columns=columns)
        return Means(empty, empty, empty)
    mixed = [(label, name) for label in runs.methods["label"] for name in runs.datasets if runs.mixture(label, [name])]
    is_mixed = pd.MultiIndex.from_frame(runs.frame[["method", "dataset"]]).isin(mixed)
    valid = runs.frame.assign(accuracy_pct=runs.frame["accuracy_pct"].mask(is_mixed))
    by_seed = valid.pivot(index=["method", "seed"], columns=["dataset", "column"], values="accuracy_pct")
    by_seed = by_seed.reindex(index=runs.seeds(), columns=columns)
    return mean_and_h(runs, by_seed, targets, runs.experiment.protocol in CROSS or len(targets) > 1)


def ood_means(runs: Runs) -> Means | None:
    """Return the means of the OOD detection scores, or None if no run was tested with images of unknown classes.

    Of the runs of a method on a data set, only those with the most shots, or on the base classes, are used.
    """
    columns = {}
    for label in runs.methods["label"]:
        own = [column for column in runs.columns if runs.has_column(label, column)]
        columns[label] = most_shots(own) or own[0]
    rows = runs.frame[runs.frame["finished"] & (runs.frame["column"] == runs.frame["method"].map(columns))]
    rows = rows.assign(scores=rows["result"].map(of_unknown))
    rows = rows[rows["scores"].astype(bool)]
    if rows.empty:
        return None
    rows = rows.assign(**{name: [row[s][key] for row in rows["scores"]] for name, (s, key) in OOD_COLUMNS.items()})
    by_seed = rows.pivot(index=["method", "seed"], columns="dataset", values=list(OOD_COLUMNS)).swaplevel(axis=1)
    by_seed = by_seed.reindex(index=runs.seeds(), columns=pd.MultiIndex.from_product([runs.datasets, OOD_COLUMNS]))
    if len(runs.datasets) > 1:
        _add_average(by_seed, runs.datasets)
    return _means_of_seeds(by_seed)


# ---------------------------------------------------------------------- tables


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table with a row for each method.

    Attributes:
        title: the title.
        place: the data set, or AVERAGE.
        rows: for each row the columns _ROW.
        mean: the means, with the same index as `rows`; NaN where there is no number.
        std: the standard deviations, with the index and columns of `mean`; NaN where there is none.
        about: sentences on the test images.
        unranked: the columns of which no number is bold.
        details: further tables of the same data set, with other columns.
    """

    title: str
    place: str
    rows: pd.DataFrame
    mean: pd.DataFrame
    std: pd.DataFrame
    about: str = ""
    unranked: tuple[str, ...] = ()
    details: tuple[Table, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of numbers."""
        return tuple(self.mean.columns)

    @property
    def names(self) -> list[str]:
        """The name of each row: the label with remarks on its numbers."""
        return [
            ", ".join(filter(None, [with_remark(row.label, row.remark), row.h_of])) for row in self.rows.itertuples()
        ]

    @property
    def deciding(self) -> str:
        """The column by which methods are compared: the most shots, H, the accuracy, or the last column."""
        ranked = (most_shots(self.columns), "H", ACCURACY)
        return next((name for name in ranked if name in self.columns), self.columns[-1])

    @property
    def measure(self) -> str:
        """The meaning of the column `deciding`."""
        if self.deciding.isdigit():
            return f"accuracy with {shots_text(self.deciding)}"
        if self.deciding in ("H", ACCURACY):
            return self.deciding
        return "average accuracy" if self.deciding == AVERAGE else f"accuracy, {self.deciding}"

    @property
    def where(self) -> str:
        """The data sets of the column `deciding`."""
        return self.title.removesuffix(_TESTED_ON)

    def measured(self, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the means (or other numbers) of the measured rows, indexed by label."""
        numbers = self.mean if numbers is None else numbers
        return numbers.set_axis(self.rows["label"], axis=0)[(self.rows["source"] == "").to_numpy()]

    def deciding_numbers(self, numbers: pd.DataFrame) -> pd.Series:
        """Return the numbers of the measured rows in the column `deciding`, indexed by label.

        For zero-shot CLIP in a table of shots, the numbers of the column "0" are used.
        """
        measured = self.measured(numbers)
        return measured[self.deciding].fillna(measured["0"]) if "0" in measured else measured[self.deciding]

    def headings(self) -> dict[int, str]:
        """Return the groups of methods by the number of their first row."""
        groups = ["", *self.rows["group"]]
        return {row: group for row, group in enumerate(groups[1:]) if group and group != groups[row]}

    def best(self) -> pd.DataFrame:
        """Return a truth value for each number: whether it is the highest measured mean of its column, as printed.

        Published rows and rows with remarks are not compared. A column with numbers in one row only has no best number.
        """
        ranked = self.mean.round(2).mask((self.rows["source"] + self.rows["remark"]) != "", axis=0)
        ranked[list(self.unranked)] = float("nan")
        return ranked.eq(ranked.max()) & (ranked.count() > 1)


class Summary(NamedTuple):
    """The numbers of a report: the runs, their means, and the tables of results, of which the last one decides."""

    runs: Runs
    means: Means
    tables: Sequence[Table]

    @property
    def labels(self) -> list[str]:
        """The methods that have a number in a table, in the order of the tables."""
        numbers = [table.measured().notna().any(axis=1) for table in self.tables]
        return list(dict.fromkeys(label for has_any in numbers for label in has_any.index[has_any]))


_ROW = {"label": "", "source": "", "group": "", "seeds": (), "remark": "", "h_of": ""}


def make_table(
    title: str, place: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], **options: Any
) -> Table:
    """Return a table of rows: mappings with the keys _ROW, and `mean` and `std` with a number for each column."""
    frame = pd.DataFrame([{**_ROW, **row} for row in rows], columns=[*_ROW])
    mean, std = (
        pd.DataFrame([row[name] for row in rows], columns=list(columns), dtype=float) for name in ("mean", "std")
    )
    return Table(title, place, frame, mean, std, **options)


def with_details(tables: Sequence[Table]) -> list[Table]:
    """Return each table, followed by its further tables."""
    return [one for table in tables for one in (table, *table.details)]


def with_remark(label: str, remark: str) -> str:
    """Return the name of a method with a remark on its numbers."""
    return f"{label} ({remark})" if remark else label


def row_of_means(runs: Runs, means: Means, label: str, place: str, cells: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the row of a method in the table of a data set or of all data sets.

    Args:
        runs: the runs.
        means: the means.
        label: the method.
        place: the data set of the table, or AVERAGE.
        cells: pairs of data set and column, whose means are the numbers of the row.
    """
    return {
        "label": label,
        "group": runs.methods.at[label, "group"] if runs.has_groups() else "",
        "seeds": runs.methods.at[label, "seeds"],
        "remark": runs.remark(label, runs.datasets_of(place)),
        "mean": [means.mean.at[label, cell] if cell in means.mean else float("nan") for cell in cells],
        "std": [means.std.at[label, cell] if cell in means.std else float("nan") for cell in cells],
    }


def titles_of(runs: Runs) -> dict[str, str]:
    """Return the title of the table of each data set and of the average over several data sets, which is the last."""
    titles = {dataset: dataset for dataset in runs.datasets}
    if len(runs.datasets) > 1:
        titles[AVERAGE] = f"average over {len(runs.datasets)} data sets"
    return titles


def places(runs: Runs) -> list[tuple[str, str, dict[str, tuple[str, str]]]]:
    """Return the title, the place and the columns of each table, with the keys of their numbers in the means.

    The average over several data sets is the last table.
    """
    experiment = runs.experiment
    if experiment.protocol in CROSS:
        columns = {name: (name, ACCURACY) for name in (*runs.datasets, AVERAGE)}
        return [(f"trained on {experiment.source}{_TESTED_ON}", AVERAGE, columns)]
    names = runs.columns
    if experiment.protocol == BASE2NEW:
        names = (*ALONE, "H", *(["H (all)"] if experiment.joint_test else []))
    return [(title, place, {name: (place, name) for name in names}) for place, title in titles_of(runs).items()]


def result_tables(runs: Runs, means: Means) -> list[Table]:
    """Return the tables of results, with published rows, and with further tables of other columns."""
    ood = ood_means(runs)
    return [_result_table(runs, means, ood, *place) for place in places(runs)]


def _result_table(
    runs: Runs, means: Means, ood: Means | None, title: str, place: str, columns: Mapping[str, tuple[str, str]]
) -> Table:
    experiment, rows, details = runs.experiment, list[dict[str, Any]](), list[Table]()
    known = published.rows(experiment, place)
    for label in runs.in_groups():
        rows.append(row_of_means(runs, means, label, place, [*columns.values()]))
        name, group = runs.methods.at[label, "published"], rows[-1]["group"]
        rows += [_published_row(one, columns, label, group) for one in known if one.method == name]
    if experiment.joint_test:
        names = (*TOGETHER.values(), "H (all)")
        cells = [(place, name) for name in names]
        own = [row_of_means(runs, means, label, place, cells) for label in runs.in_groups()]
        name = f"{title}: base and new classes tested together"
        details.append(make_table(name, place, names, own, about=_ABOUT_TOGETHER))
    # methods of log files have a name such as "MaPLe (logs)"
    measured = {method.published or method.family.partition(" ")[0] for method in runs.methods.itertuples()}
    others = [_published_row(one, columns) for one in known if one.method not in measured]
    if others and not experiment.grids:
        about = "These numbers were published by other authors. None of them was measured in this experiment."
        name = f"{title}: published results of methods without a run in this experiment"
        details.append(make_table(name, place, [*columns], others, about=about))
    if ood is not None:
        details += _ood_table(runs, ood, title, place)
    about = about_images(runs, runs.datasets_of(place))
    if experiment.protocol in CROSS:
        texts = {dataset: about_images(runs, [dataset]) for dataset in runs.datasets}
        about = " ".join(f"{dataset}: {text}" for dataset, text in texts.items() if text)
    return make_table(title, place, [*columns], rows, about=about, details=tuple(details))


def _published_row(
    row: published.Published, columns: Iterable[str], label: str = "", group: str = ""
) -> dict[str, Any]:
    name = row.label.replace(row.method, label, 1) if label else row.label
    mean = [row.numbers.get(column, float("nan")) for column in columns]
    std = [float("nan")] * len(mean)
    return {"label": f"{name}, published", "source": row.source, "group": group, "h_of": row.h_of} | {
        "mean": mean,
        "std": std,
    }


def unknown_classes(runs: Runs) -> str:
    """Return the names of the unknown classes of OOD detection."""
    names = dict.fromkeys(str(scores["of"]) for scores in runs.frame["result"].map(of_unknown) if scores)
    return ", ".join("the new classes" if name == NEW else name for name in names)


def _ood_table(runs: Runs, ood: Means, title: str, place: str) -> list[Table]:
    cells = [(place, name) for name in OOD_COLUMNS]
    has_number = ood.mean.reindex(columns=pd.MultiIndex.from_tuples(cells)).notna().any(axis=1)
    rows = [row_of_means(runs, ood, label, place, cells) for label in runs.in_groups() if has_number[label]]
    if not rows:
        return []
    notes = dict.fromkeys(
        f"{run.method}: {note.rstrip('.')}."
        for run in runs.frame.itertuples()
        if (note := of_unknown(run.result).get("note"))
    )
    about = " ".join([_ABOUT_OOD.format(unknown_classes(runs)), *notes])
    unranked = tuple(column for column in OOD_COLUMNS if column not in AUROC)
    name = f"{title}: detection of unknown classes"
    return [make_table(name, place, [*OOD_COLUMNS], rows, about=about, unranked=unranked)]


def about_images(runs: Runs, datasets: Sequence[str]) -> str:
    """Return sentences on the test images of data sets and, for one data set, on its split and its training runs."""
    rows = runs.select(datasets=datasets)
    rows = rows[rows["result"].notna()]
    tested = rows[rows["accuracy_pct"].notna()].assign(images=lambda own: [r.get("images") or 0 for r in own["result"]])
    texts = []
    for (dataset, images), columns in tested[tested["images"] > 0].groupby(["dataset", "images"], sort=False)["column"]:
        half = "base and new together" if columns.isin(TOGETHER.values()).all() else ""
        half = " and ".join(columns.unique()) if columns.isin(ALONE).all() else half
        place = " ".join(filter(None, [dataset if len(datasets) > 1 else "", half]))
        texts.append(f"{images:,}{f' ({place})' if place else ''}")
    texts = [f"Number of test images: {', '.join(texts)}."] if texts else []
    if len(datasets) > 1:
        return " ".join(texts)
    statuses, labels = set[str](), dict[str, dict[str, None]]()
    for run in rows.itertuples():
        status = str((run.result.get("split") or {}).get("status") or "")
        statuses.add(SPLIT_STATUS.get(status, status))
        tested_on, selected_on = run.result.get("tested_on"), run.result.get("selected_on")
        facts = [f"measured on {tested_on}"] if tested_on not in (None, "test") else []
        facts += [f"selected on {selected_on}"] if selected_on else []
        for fact in [*facts, *run.notes]:
            labels.setdefault(fact, {})[run.method] = None
    texts += [f"Split: {', '.join(sorted(filter(None, statuses)))}."] if any(statuses) else []
    texts += [f"{', '.join(own)}: {fact.rstrip('.')}." for fact, own in sorted(labels.items())]
    return " ".join(texts)


def worth_of_image(runs: Runs, place: str) -> list[float]:
    """Return by how many percentage points one test image changes a number of a table: the least and the most."""
    datasets = runs.datasets_of(place)
    rows = runs.select(datasets=datasets)
    images = [result.get("images") for result in rows["result"] if result and result.get("images")]
    points = sorted({float(f"{100 / number / len(datasets):.2g}") for number in images})
    return list(dict.fromkeys([*points[:1], *points[-1:]]))


def caption(runs: Runs, tables: Sequence[Table]) -> str:
    """Return what the numbers of the tables are."""
    seeds = runs.experiment.seeds
    over = f", as {STD} over {seeds_text(seeds)}" if len(seeds) > 1 else f" for {seeds_text(seeds)}"
    texts = [
        f"All numbers are accuracies in percent{over}. The best measured result of each column is bold. "
        "A dash (-) marks a number that is missing or unknown."
    ]
    if any((table.rows["remark"] != "").any() for table in with_details(tables)):
        texts.append(
            "If the numbers of a row cannot be compared with the other rows, the reason follows the name of the "
            "method, and no number in that row is bold."
        )
    if runs.experiment.protocol == "few_shot":
        texts.append("Columns give the number of training images per class.")
    if any("H" in table.columns for table in tables):
        texts.append(_H_OF_THE_MEANS)
    return " ".join(texts)


def sources(tables: Sequence[Table]) -> list[str]:
    """Return the sources of the published rows, each once."""
    rows = (row for table in with_details(tables) for row in table.rows.itertuples() if row.source)
    return list(dict.fromkeys(f"{row.label}: {row.source}." for row in rows))


def not_compared(tables: Sequence[Table]) -> str:
    """Return a sentence for figures, in which names have no remarks: the methods that cannot be compared, or ""."""
    names = dict.fromkeys(
        name
        for table in tables
        for name, remark, has_number in zip(table.names, table.rows["remark"], table.mean.notna().any(axis=1))
        if remark and has_number
    )
    return f" Not to be compared: {', '.join(names)}." if names else ""


# ---------------------------------------------------------------------- Markdown, CSV and LaTeX


def number_text(mean: float | None, std: float | None = None, form: str = ".2f") -> str:
    """Return a mean with its standard deviation as text, or a dash if there is no number."""
    if mean is None or pd.isna(mean):
        return EMPTY
    return f"{mean:{form}}" + ("" if std is None or pd.isna(std) else f" ± {std:{form}}")


def _lines(
    table: Table,
    escape: Callable[[str], str],
    bold: str,
    italic: str,
    number: Callable[[float, float, bool], str],
) -> Iterator[list[str]]:
    """Yield the rows of a table as texts: published rows in italics, and headings of groups in bold."""
    best, headings = table.best().to_numpy().tolist(), table.headings()
    means, stds = table.mean.to_numpy(), table.std.to_numpy()
    for at, (name, source) in enumerate(zip(table.names, table.rows["source"])):
        if at in headings:
            yield [bold % headings[at], *[""] * len(table.columns)]
        yield [italic % escape(name) if source else escape(name), *map(number, means[at], stds[at], best[at])]


def markdown_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose cells are Markdown."""
    lines = [f"| {' | '.join(texts)} |" for texts in (head, *rows)]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def markdown_texts(title: str, about: str, texts: pd.DataFrame, escape_all: bool = True) -> list[str]:
    """Return the lines of a Markdown table of texts, with a title and a caption; none without rows.

    Args:
        title: the title.
        about: the caption.
        texts: the table.
        escape_all: whether all cells are escaped, or only the first column.
    """
    if texts.empty:
        return []
    shown = texts.copy()
    for name in texts.columns if escape_all else texts.columns[:1]:
        shown[name] = texts[name].map(markdown_cell)
    rows = shown.to_numpy().tolist()
    return [
        "", f"## {markdown_text(title)}", "", markdown_text(about), "",
        *markdown_rows(list(map(markdown_cell, texts.columns)), rows),
    ]  # fmt: skip


def markdown(
    tables: Sequence[Table], title: str, about: str, notes: Mapping[str, Sequence[str]], more: Sequence[str] = ()
) -> str:
    """Return a report in Markdown: all tables with the best numbers in bold, further lines, and lists of notes."""
    lines = [f"# {markdown_text(title)}", "", about]
    for table in with_details(tables):
        rows = _lines(
            table,
            markdown_text,
            "**%s**",
            "*%s*",
            lambda mean, std, best: f"{'**' * best}{number_text(mean, std)}{'**' * best}",
        )
        head = [markdown_text(text) for text in ("method", *table.columns)]
        lines += ["", f"## {markdown_text(table.title)}", "", *markdown_rows(head, rows)]
        lines += ["", markdown_text(table.about)] if table.about else []
    lines += more
    for heading, texts in notes.items():
        lines += ["", f"{heading}:", "", *(f"- {markdown_text(text)}" for text in texts)] if texts else []
    return "\n".join(lines) + "\n"


def numbers_frame(tables: Sequence[Table]) -> pd.DataFrame:
    """Return the numbers of all tables that have the columns of the first table, as they are written to a CSV file."""
    if not tables:
        return pd.DataFrame(columns=["table", "method", "seeds", "said", "published_in"])
    parts = []
    for table in with_details(tables):
        if table.columns != tables[0].columns:
            continue
        part = table.rows.rename(columns={"label": "method", "remark": "said", "source": "published_in"})
        part = part.assign(table=table.place, seeds=[" ".join(map(str, seeds)) for seeds in part["seeds"]])
        numbers = {
            f"{one_line(column)}_{name}{'' if column == 'labels' else '_pct'}": list(map(decimal, frame[column]))
            for column in table.columns
            for name, frame in (("mean", table.mean), ("population_std", table.std))
        }
        parts.append(part.assign(**numbers))
    frame, names = pd.concat(parts, ignore_index=True), list(numbers)
    group = ["group"] if any(table.headings() for table in tables) else []
    return frame[["table", *group, "method", *names, "seeds", "said", "published_in"]].map(one_line)


def decimal(number: float | None, form: str = ".4f") -> str:
    """Return a number as a cell of a CSV file, which is empty for NaN or None."""
    return "" if number is None or pd.isna(number) else f"{number:{form}}"


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}  # the oldest font encoding has no such characters
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {c: f"{{{c}}}" for c in "[]*"}  # at the start of a row they would be read as options of the row before
)


def latex_text(text: str) -> str:
    """Return a text in one line, with the special characters of LaTeX escaped."""
    return one_line(text).translate(_LATEX)


def latex_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a LaTeX table with booktabs, whose cells are LaTeX; the caption and the head are text."""
    frame = pd.DataFrame(list(rows), columns=list(map(latex_text, head)))
    options = {"position": "t", "position_float": "centering", "column_format": f"l{'c' * (len(head) - 1)}"}
    return str(frame.style.hide(axis="index").to_latex(hrules=True, caption=latex_text(caption), **options))


def latex(tables: Sequence[Table], title: str, about: str) -> str:
    r"""Return a LaTeX file with all tables. To use the file, write \usepackage{booktabs}, and \input the file."""

    def number(mean: float, std: float, best: bool) -> str:
        if pd.isna(mean):
            return "--"
        text = rf"\textbf{{{mean:.2f}}}" if best else f"{mean:.2f}"
        return text if pd.isna(std) else rf"{text} {{\scriptsize $\pm$ {std:.2f}}}"

    texts = ["% The tables need \\usepackage{booktabs}.\n"]
    for table in with_details(tables):
        rows = _lines(table, latex_text, r"\textbf{%s}", r"\textit{%s}", number)
        images = f" {table.about}" if table.about else ""
        texts.append(latex_table(f"{title}: {table.title}.{images} {about}", ["Method", *table.columns], rows))
    return "\n".join(texts)
