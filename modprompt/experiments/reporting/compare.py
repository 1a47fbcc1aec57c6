"""Differences between one method and the others, seed by seed: means, intervals and paired tests.

A pair is a seed for which both methods have a number. Zero-shot CLIP does not depend on the seed, so its one run is
paired with every seed of the other method.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.runs import Runs, seeds_text
from modprompt.experiments.reporting.tables import ACCURACY, EMPTY, Means, Summary, Table, decimal, places, with_remark
from modprompt.io.result import BY_CLASS
from modprompt.io.text import one_line

FILE_NAME = "differences.csv"
LEVEL = 95  # of intervals, in percent
FEWEST_TESTED = 5  # pairs that a test needs
_EQUAL = 1e-9  # differences in percentage points that are rounding errors: one image in a million is more
_SEED = "seed_{}_points"
_LOW, _HIGH = (f"interval{LEVEL}_{end}_points" for end in ("low", "high"))
_COLUMNS = ("table", "column", "method", "minus", "said", "pairs", "difference_points", _LOW, _HIGH, "p", "p_holm")
_ABOUT = (
    "Differences are in percentage points. Two methods are compared seed by seed: a seed for which both methods have a "
    f"result is a pair, and n is the number of pairs. A cell shows the mean difference, its {LEVEL}% confidence "
    "interval (Student's t with n - 1 degrees of freedom, not corrected for several comparisons), and the p-value of a "
    "two-sided paired t-test (scipy.stats.ttest_rel). The p-values of each column are Holm-corrected over the methods "
    f"of the table. With fewer than {FEWEST_TESTED} pairs a cell has no p-value, and with one pair it has no interval. "
    "Intervals and p-values describe the variation over seeds on these data sets and do not generalize to other data "
    "sets."
)
_ABOUT_H = (
    " The H of a seed is computed from the base and new accuracy of this seed. The tables of results compute H from "
    "mean accuracies, so the difference of two values of H in these tables may differ from the mean difference shown "
    "here."
)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the confidence interval of a mean, or None for fewer than two values.

    The interval is mean ± t(0.975, n - 1) s / sqrt(n), where s has n - 1 in the denominator.
    """
    if len(values) < 2:
        return None
    mean, width = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = _quantile(len(values) - 1) * width
    return mean - half, mean + half


@functools.cache  # SciPy takes a millisecond for each quantile
def _quantile(degrees_of_freedom: int) -> float:
    """Return the quantile of Student's t distribution that bounds a two-sided interval of LEVEL percent."""
    from scipy import stats  # late: the import takes a second, and few reports compare methods

    return float(stats.t.ppf((1 + LEVEL / 100) / 2, degrees_of_freedom))


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> dict[str, float]:
    """Return the difference of two methods over the seeds for which both have a number, in percentage points.

    Args:
        one: numbers of a method by seed, in percent.
        other: numbers of another method by seed, in percent.

    Returns:
        A mapping with the columns of differences.csv: the number of pairs, the mean difference, the bounds of its
        interval, the p-value of a paired t-test, and the difference of each seed. The interval is missing for one pair
        and for equal differences, and the p-value also for few pairs. Without pairs, only the number of pairs is there.
    """
    pairs = {seed: one[seed] - other[seed] for seed in one if seed in other}
    points = list(pairs.values())
    cells = {"pairs": len(pairs)} | {_SEED.format(seed): value for seed, value in pairs.items()}
    if not pairs:
        return cells
    cells["difference_points"] = float(np.mean(points))
    if max(points) - min(points) < _EQUAL:
        return cells
    cells[_LOW], cells[_HIGH] = interval(points) or (float("nan"),) * 2
    if len(pairs) >= FEWEST_TESTED:
        from scipy import stats

        cells["p"] = float(stats.ttest_rel([one[seed] for seed in pairs], [other[seed] for seed in pairs]).pvalue)
    return cells


def holm(p_values: pd.Series) -> pd.Series:
    """Return p-values with Holm's correction, over those that are not NaN.

    Holm, 1979 (Scandinavian Journal of Statistics 6, 65-70): the k-th smallest, k from 0, is multiplied by m - k, is
    at most 1, and is at least the one before it.
    """
    ranked = p_values.dropna().sort_values(kind="stable")
    corrected = ranked * np.arange(len(ranked), 0, -1)
    return corrected.clip(upper=1.0).cummax().reindex(p_values.index)


def depends_on_seed(runs: Runs, label: str) -> bool:
    """Return True if the seeds of a method may have different results: zero-shot methods with one run have not."""
    return bool(runs.methods.at[label, "trains"]) or len(runs.methods.at[label, "seeds"]) > 1


def column_of(runs: Runs, label: str, column: str) -> str:
    """Return the column with the numbers of a method: the column "0" of a zero-shot method for any number of shots."""
    of_shots = column.isdigit() or column == BY_CLASS
    return "0" if of_shots and not runs.methods.at[label, "trains"] and runs.has_column(label, "0") else column


def _has_numbers(runs: Runs, label: str, column: str) -> bool:
    halves = ALONE if column == "H" else (column,)
    return all(runs.has_column(label, column_of(runs, label, half)) for half in halves)


def _seeds(runs: Runs, means: Means, label: str, place: tuple[str, str]) -> dict[int, float]:
    dataset, column = place
    return means.of_seeds(label, (dataset, column_of(runs, label, column)))


def subtract(runs: Runs, means: Means, one: str, other: str, place: tuple[str, str]) -> dict[str, float]:
    """Return the difference of two methods in a column of a data set, with the columns that `difference` returns."""
    if not (_has_numbers(runs, one, place[1]) and _has_numbers(runs, other, place[1])):
        return {"pairs": 0}
    first, second = (_seeds(runs, means, label, place) for label in (one, other))
    if not depends_on_seed(runs, one):
        first = {seed: value for seed in runs.methods.at[other, "seeds"] for value in first.values()}
    elif not depends_on_seed(runs, other):
        second = {seed: value for seed in runs.methods.at[one, "seeds"] for value in second.values()}
    return difference(first, second)


def other_causes(runs: Runs, one: str, other: str, datasets: Sequence[str]) -> list[str]:
    """Return reasons why the difference of two methods may have other causes than the methods."""
    facts = runs.differing_facts(one, other, datasets)
    reasons = [f"made with different {' and '.join(facts)}"] if facts else []
    if any((label, dataset) in runs.from_logs for label in (one, other) for dataset in datasets):
        reasons.append("read from log files, which do not record the images of each seed")
    return reasons


# ---------------------------------------------------------------------- tables of differences


class Comparison(NamedTuple):
    """The differences between one method and all others.

    title, about: the title and the caption of all tables.
    frame: a row for each table, column and other method, with the columns of differences.csv and `title`.
    missing: sentences on the seeds that have no pair.
    """

    title: str
    about: str
    frame: pd.DataFrame
    missing: list[str]

    def tables(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Yield the title, a sentence on the number of pairs, and the texts of each table."""
        for title, rows in self.frame.groupby("title", sort=False):
            most = int(rows["pairs"].max())
            names = [with_remark(row.minus, row.said) for row in rows.itertuples()]
            texts = rows.assign(name=names, text=[_text(row, most) for row in rows.to_dict("records")])
            head = f"{rows['method'].iloc[0]} minus"
            wide = texts.pivot(index="name", columns="column", values="text").rename_axis(index=None, columns=None)
            wide = wide.loc[list(dict.fromkeys(names)), list(dict.fromkeys(rows["column"]))]
            wide.insert(0, head, wide.index)
            yield str(title), _describe_pairs(rows, most), wide

    def csv(self) -> pd.DataFrame:
        """Return the content of differences.csv as texts."""
        seeds = [name for name in self.frame if str(name).startswith("seed_")]
        frame = self.frame[[*_COLUMNS, *sorted(seeds, key=lambda name: int(name.split("_")[1]))]].copy()
        for name in frame.columns[6:]:
            form = ".6g" if name.startswith("p") else ".4f"
            frame[name] = [decimal(value, form) for value in frame[name]]
        return frame.astype(str).map(one_line)


def compare(summary: Summary) -> Comparison | None:
    """Return the differences between the method `compare` of the experiment and all others; None without the key."""
    runs, means, _ = summary
    label = runs.experiment.compare
    if not label:
        return None
    labels = runs.in_groups()
    if label not in labels or len(labels) < 2:
        why = "is not among the methods of this report" if label not in labels else "is the only method of this report"
        return Comparison("", "", pd.DataFrame(), [f"{label} {why}, so no methods are compared."])
    others, rows, missing = [other for other in labels if other != label], [], list[str]()
    name = with_remark(label, runs.remark(label, runs.datasets, with_seeds=False))
    for title, table, columns in places(runs):
        columns = {column: place for column, place in columns.items() if column not in ("0", "H (all)")}
        datasets = runs.datasets_of(table)
        for other in others:
            causes = other_causes(runs, label, other, datasets)
            said = "; ".join(filter(None, [runs.remark(other, datasets, with_seeds=False), *causes]))
            facts = {"title": title, "table": table, "method": name, "minus": other, "said": said}
            for column, place in columns.items():
                rows.append({**facts, "column": column, **subtract(runs, means, label, other, place)})
        missing += _missing_pairs(runs, means, title, columns, label, others)
    names = dict.fromkeys(["title", *_COLUMNS, *(key for row in rows for key in row)])
    frame = pd.DataFrame(rows).reindex(columns=list(names))
    frame["p_holm"] = frame.groupby(["table", "column"], sort=False)["p"].transform(lambda p: holm(p.astype(float)))
    return Comparison(f"Differences by seed: {name} minus each other method", _about(runs, labels), frame, missing)


def _missing_pairs(
    runs: Runs, means: Means, title: str, columns: Mapping[str, tuple[str, str]], label: str, others: Sequence[str]
) -> list[str]:
    """Return sentences on the results that are missing, so that seeds of two methods cannot be paired."""
    lacks: dict[str, list[str]] = {}
    for column, place in columns.items():
        asked = [one for one in (label, *others) if _has_numbers(runs, one, place[1])]
        for one in asked if label in asked and len(asked) > 1 else ():
            known = _seeds(runs, means, one, place)
            pairs = [pair for pair in (asked if one == label else (label, one)) if depends_on_seed(runs, pair)]
            seeds = sorted({seed for pair in pairs for seed in runs.methods.at[pair, "seeds"]} - {*known})
            if depends_on_seed(runs, one) and seeds:
                lacks.setdefault(f"{one} has no result for {seeds_text(seeds)}", []).append(column)
            elif not known:
                lacks.setdefault(f"{one} has no result", []).append(column)
    return [f"{title}, {', '.join(names)}: {why}." for why, names in lacks.items()]


def _about(runs: Runs, labels: Sequence[str]) -> str:
    text = _ABOUT + (_ABOUT_H if runs.experiment.protocol == BASE2NEW else "")
    fixed = [label for label in labels if not depends_on_seed(runs, label)]
    if fixed and len(fixed) < len(labels):
        shots = " and every number of shots" if runs.experiment.protocol == "few_shot" else ""
        text += f" {', '.join(fixed)} {'does' if len(fixed) == 1 else 'do'} not depend on the seed, so the one run of "
        text += f"{fixed[0] if len(fixed) == 1 else 'each'} is paired with every seed{shots} of the other methods."
    return text


def _describe_pairs(rows: pd.DataFrame, most: int) -> str:
    """Return how many pairs the cells of a table have, and over how many methods the p-values are corrected."""
    if not most:
        return "No seed has a result of both methods."
    is_mixed = not rows["pairs"].isin([0, most]).all()
    start = f"n = {most}{' unless a cell states another n' if is_mixed else ''}."
    tested = rows.groupby("column", sort=False)["p"].count()
    columns = {many: list(tested.index[tested == many]) for many in tested if many}
    if not columns:
        return f"{start} No p-value is shown, because a test needs {FEWEST_TESTED} pairs that are not all equal."
    over = [f"{many} method{'s' * (many > 1)}" for many in columns]
    if len(columns) > 1:
        over = [f"{text} ({', '.join(names)})" for text, names in zip(over, columns.values())]
    return f"{start} The p-values are Holm-corrected over {', '.join(over)}."


def _text(cell: Mapping[str, float], most: int) -> str:
    """Return the text of a cell: mean, interval, p-value, and the number of pairs if that differs from `most`."""
    if not cell["pairs"]:
        return EMPTY
    has_interval = not pd.isna(cell[_LOW])
    text = points(cell["difference_points"])
    text += f" [{points(cell[_LOW])}, {points(cell[_HIGH])}]" if has_interval else ""
    parts = [text, "equal in all pairs" * (cell["pairs"] > 1 and not has_interval)]
    p_value = cell["p_holm"]
    parts.append("" if pd.isna(p_value) else f"p {'< 0.001' if p_value < 0.001 else f'{p_value:.3f}'}")
    parts.append(f"n = {cell['pairs']}" * (cell["pairs"] != most))
    return ", ".join(filter(None, parts))


def points(value: float) -> str:
    """Return a number of percentage points with its sign."""
    return f"{round(value, 2) + 0.0:+.2f}"  # + 0.0 turns -0.0 into 0.0


# ---------------------------------------------------------------------- the sentence that a page opens with


def finding(summary: Summary) -> str:
    """Return a sentence on the difference between the compared method and the best of the others, or "".

    The compared method is `compare` of the experiment, or the method with the highest mean. Methods with remarks are
    left out. Active-learning experiments have no such sentence.
    """
    runs, means, tables = summary
    if runs.experiment.rounds is not None or not tables:
        return ""
    table = tables[-1]
    ranked = _rank(table)
    label = runs.experiment.compare if runs.experiment.compare in ranked else next(iter(ranked), "")
    rival = next((other for other in ranked if other != label), "")
    if not rival:
        return ""
    across = runs.experiment.protocol in CROSS
    where = f"target data sets, trained on {runs.experiment.source}" if across else table.title
    best = ", the best of the other methods," if len(ranked) > 2 else ""
    datasets = [table.place] if table.place in runs.datasets else runs.datasets[across:]
    if causes := other_causes(runs, label, rival, datasets):
        return (
            f"{label} and {rival}{best} cannot be compared seed by seed in {table.measure} ({where}), because the "
            f"results were {' and '.join(causes)}."
        )
    cell = subtract(runs, means, label, rival, (table.place, ACCURACY if across else table.deciding))
    pairs = int(cell["pairs"])
    if not pairs:
        return f"{label} and {rival}{best} cannot be compared in {table.measure} ({where}), because they share no seed."
    mean = cell["difference_points"]
    start = f"{label} differs from {rival}{best} by {points(mean)} percentage points in {table.measure} ({where}"
    if pairs < 2:
        return f"{start}). One seed cannot show whether the difference is significant."
    if _LOW not in cell and abs(mean) < _EQUAL:
        return f"{label} and {rival}{best} have equal {table.measure} ({where}) with each of the {pairs} seeds."
    if _LOW not in cell:
        return f"{start}), with each of the {pairs} seeds."
    low, high = cell[_LOW], cell[_HIGH]
    conclusion = (
        "The interval does not contain 0, so the difference is significant over seeds."
        if low > 0 or high < 0
        else "The interval contains 0, so the difference is not significant over seeds."
    )
    return f"{start}; {LEVEL}% interval {points(low)} to {points(high)}, {pairs} seeds). {conclusion}"


def _rank(table: Table) -> list[str]:
    """Return the measured methods without remarks, the best first."""
    means = table.deciding_numbers(table.mean)
    remarks = table.measured(table.rows[["remark"]])["remark"]
    return [*means[(remarks == "") & means.notna()].sort_values(ascending=False, kind="stable").index]
