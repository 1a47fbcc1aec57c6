"""One method minus another, seed by seed: mean differences, intervals, paired tests, and the sentence of a page's top.

A pair is a seed for which both have a number; a method that draws nothing has its one number for every seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

import numpy as np

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.tables import ACCURACY, EMPTY, Numbers, Place, Section, named, places
from modprompt.io.images import BY_CLASS
from modprompt.io.text import one_line

FILE_NAME = "differences.csv"
LEVEL = 95  # of intervals, in percent
FEWEST_TESTED = 5  # pairs that a test needs
_EQUAL = 1e-9  # percentage points: one image in a million is more
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
    """The interval of a mean by Student's t with n - 1 degrees of freedom, in the unit of the values.

    Mean ± t(0.975, n - 1) s / sqrt(n), with n - 1 in the denominator of s. None for fewer than two values.
    """
    if len(values) < 2:
        return None
    from scipy import stats  # late: it takes a second, and few reports compare

    mean, width = fmean(values), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    if not width:
        return mean, mean
    low, high = stats.t.interval(LEVEL / 100, len(values) - 1, loc=mean, scale=width)
    return float(low), float(high)


class Difference(NamedTuple):
    """One method minus another, in percentage points."""

    by_seed: Mapping[int, float]  # of each pair
    mean: float
    interval: tuple[float, float] | None = None  # of the mean; None for one pair, and where all are equal
    p: float | None = None  # of the paired t-test, two-sided; None for few pairs, and where all are equal
    p_holm: float | None = None  # the same by Holm's correction, once `corrected` has made it


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """The difference of two methods over the seeds for which both have a number, in percent; None if there is none."""
    seeds = [seed for seed in one if seed in other]
    if not seeds:
        return None
    values = [one[seed] - other[seed] for seed in seeds]
    pairs = Difference(dict(zip(seeds, values)), fmean(values))
    if max(values) - min(values) < _EQUAL:  # also of one pair
        return pairs
    pairs = pairs._replace(interval=interval(values))
    if len(values) < FEWEST_TESTED:
        return pairs
    from scipy import stats

    return pairs._replace(
        p=float(stats.ttest_rel([one[seed] for seed in seeds], [other[seed] for seed in seeds]).pvalue)
    )


def corrected(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """The same with `p_holm`, over those m that have a p.

    Holm, 1979 (Scandinavian Journal of Statistics 6, 65-70): the k-th smallest, k from 0, is multiplied by m - k, is
    at most 1, and is at least the one before it.
    """
    result, least = list(differences), 0.0
    tested = sorted((one.p, at) for at, one in enumerate(differences) if one is not None and one.p is not None)
    for rank, (p, at) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        result[at] = result[at]._replace(p_holm=least)  # type: ignore[union-attr]
    return result


def is_drawn(line: Line) -> bool:
    """Whether seeds of a method may give different numbers: not if it trains nothing and has one run."""
    return line.trains or len(line.seeds) > 1


def own_column(results: Results, line: Line, column: str) -> str:
    """The column that has a method's numbers: one that trains nothing has one, "0", for all numbers of shots."""
    of_shots = column.isdigit() or column == BY_CLASS
    return "0" if of_shots and not line.trains and results.is_asked(line, "0") else column


def _is_asked(results: Results, line: Line, column: str) -> bool:
    return all(
        results.is_asked(line, own_column(results, line, one)) for one in (ALONE if column == "H" else (column,))
    )


def minus(results: Results, found: Numbers, line: Line, other: Line, place: str, column: str) -> Difference | None:
    """One method's numbers minus another's; None where no seed has both."""
    if not (_is_asked(results, line, column) and _is_asked(results, other, column)):
        return None
    own, others = (found.of_seeds(one.label, place, own_column(results, one, column)) for one in (line, other))
    if not is_drawn(line):
        own = {seed: value for seed in other.seeds for value in own.values()}
    elif not is_drawn(other):
        others = {seed: value for seed in line.seeds for value in others.values()}
    return difference(own, others)


def not_of_methods_alone(results: Results, line: Line, other: Line, datasets: Sequence[str]) -> list[str]:
    """Why one method's numbers minus another's, seed by seed, are not the difference of the methods alone."""
    differing = alike.differing(results, line, other, datasets)
    known = [outcome for one in (line, other) for *_, outcome in results.all(one, datasets)]
    reasons = [f"made with different {' and '.join(differing)}"] if differing else []
    if any(one.result is None and one.accuracy_pct is not None for one in known):
        reasons.append("read from log files, which do not record the images of each seed")
    return reasons


class Cell(NamedTuple):
    """A cell of a table of differences: the method minus another."""

    table: tuple[str, str]  # its title and key
    column: str
    other: str
    said: str  # why the difference is not due to the methods alone; else empty
    difference: Difference | None  # None where there is no pair


class Comparison(NamedTuple):
    """A method, with remarks on its numbers, minus each other one: all cells, by table and method, and the pairs that
    are missing."""

    name: str
    about: str
    cells: tuple[Cell, ...]
    left_out: list[str]

    @property
    def title(self) -> str:
        """Of all tables."""
        return f"Differences by seed: {self.name} minus each other method"

    def tables(self) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
        """Of each table its title, how many pairs it has, the names of its columns, and its rows as people read it."""
        for (title, _), group in groupby(self.cells, lambda cell: cell.table):
            cells = list(group)
            columns = list(dict.fromkeys(cell.column for cell in cells))
            most = max((len(cell.difference.by_seed) for cell in cells if cell.difference), default=0)
            rows = [
                [named(*row), *(_text(cell.difference, most) for cell in own)]
                for row, own in groupby(cells, lambda cell: (cell.other, cell.said))
            ]
            yield title, _pairs(cells, most), [f"{self.name} minus", *columns], rows

    def csv(self) -> tuple[list[str], list[list[str]]]:
        """The head of the file of all differences, and a row for each cell."""
        seeds = sorted({seed for cell in self.cells if cell.difference for seed in cell.difference.by_seed})
        head = [
            "table", "column", "method", "minus", "said", "pairs", "difference_points", f"interval{LEVEL}_low_points",
            f"interval{LEVEL}_high_points", "p", "p_holm", *(f"seed_{seed}_points" for seed in seeds),
        ]  # fmt: skip
        rows = []
        for cell in self.cells:
            row, one = (
                [cell.table[1], cell.column, self.name, cell.other, cell.said],
                cell.difference or Difference({}, 0.0),
            )
            points = [one.mean if cell.difference else None, *(one.interval or (None, None))]
            of_seeds = [one.by_seed.get(seed) for seed in seeds]
            texts, of_csv = (["" if v is None else f"{v:.4f}" for v in values] for values in (points, of_seeds))
            p_values = ["" if p is None else f"{p:.6g}" for p in (one.p, one.p_holm)]
            rows.append([*map(one_line, row), str(len(one.by_seed)), *texts, *p_values, *of_csv])
        return head, rows


def _pairs(cells: Sequence[Cell], most: int) -> str:
    """How many pairs the cells of a table have, and over how many methods p is corrected."""
    if not most:
        return "No seed has a result of both methods."
    is_mixed = any(cell.difference and len(cell.difference.by_seed) != most for cell in cells)
    start = f"n = {most}{' unless a cell states another n' if is_mixed else ''}."
    tested = {cell.column: 0 for cell in cells}
    for cell in cells:
        tested[cell.column] += cell.difference is not None and cell.difference.p is not None
    columns = {many: [column for column in tested if tested[column] == many] for many in tested.values() if many}
    if not columns:
        return f"{start} No p-value is shown, because a test needs {FEWEST_TESTED} pairs that are not all equal."
    over = [f"{many} method{'s' * (many > 1)}" for many in columns]
    if len(columns) > 1:
        over = [f"{text} ({', '.join(own)})" for text, own in zip(over, columns.values())]
    return f"{start} The p-values are Holm-corrected over {', '.join(over)}."


def _text(cell: Difference | None, most: int) -> str:
    """A cell: mean, interval, p, and the number of pairs where it is not the most."""
    if cell is None:
        return EMPTY
    between = "" if cell.interval is None else f" [{points(cell.interval[0])}, {points(cell.interval[1])}]"
    parts = [f"{points(cell.mean)}{between}"]
    parts += ["equal in all pairs"] if len(cell.by_seed) > 1 and cell.interval is None else []
    parts += [f"p {'< 0.001' if cell.p_holm < 0.001 else f'{cell.p_holm:.3f}'}"] if cell.p_holm is not None else []
    parts += [f"n = {len(cell.by_seed)}"] if len(cell.by_seed) != most else []
    return ", ".join(parts)


def points(value: float) -> str:
    """Percentage points with their sign."""
    return f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def compare(experiment: Experiment, results: Results, found: Numbers) -> Comparison | None:
    """The differences of the experiment's `compare` from all other methods; None if it names none."""
    if not experiment.compare:
        return None
    lines = {line.label: line for line in results.in_groups()}
    line = lines.pop(experiment.compare, None)
    if line is None or not lines:
        why = "is not among the methods of this report" if line is None else "is the only method of this report"
        return Comparison(experiment.compare, "", (), [f"{experiment.compare} {why}, so no methods are compared."])
    others, cells, left_out = list(lines.values()), list[Cell](), list[str]()
    for place in places(experiment, results):
        columns = {name: of for name, of in place.columns.items() if name not in ("0", "H (all)")}
        by_column = [
            corrected([minus(results, found, line, other, *of) for other in others]) for of in columns.values()
        ]
        datasets = [place.key] if place.key in results.datasets else results.datasets
        for other, differences in zip(others, zip(*by_column)):
            own = results.said(other, datasets, other.seeds)
            said = "; ".join(filter(None, [own, *not_of_methods_alone(results, line, other, datasets)]))
            cells += [
                Cell((place.title, place.key), column, other.label, said, one)
                for column, one in zip(columns, differences)
            ]
        left_out += _left_out(results, found, place._replace(columns=columns), line, others)
    name = named(line.label, results.said(line, results.datasets, line.seeds))
    return Comparison(name, _about(experiment, [line, *others]), tuple(cells), left_out)


def _left_out(results: Results, found: Numbers, place: Place, line: Line, others: Sequence[Line]) -> list[str]:
    """A line for each method and set of columns without the number that a pair would need."""
    lacks: dict[str, list[str]] = {}
    for name, (where, column) in place.columns.items():
        asked = [one for one in (line, *others) if _is_asked(results, one, column)]
        for one in asked if line in asked and len(asked) > 1 else ():
            known = found.of_seeds(one.label, where, own_column(results, one, column))
            pairs = asked if one is line else (line, one)
            seeds = sorted({seed for of in pairs if is_drawn(of) for seed in of.seeds} - {*known})
            if is_drawn(one) and seeds:
                why = f"{one.label} has no result for seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
                lacks.setdefault(why, []).append(name)
            elif not known:
                lacks.setdefault(f"{one.label} has no result", []).append(name)
    return [f"{place.title}, {', '.join(names)}: {why}." for why, names in lacks.items()]


def _about(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What the numbers are, of all tables."""
    text = _ABOUT + (_ABOUT_H if experiment.protocol == BASE2NEW else "")
    still = [line.label for line in lines if not is_drawn(line)]
    if still and len(still) < len(lines):
        shots = " and every number of shots" if experiment.protocol == "few_shot" else ""
        does = "does" if len(still) == 1 else "do"
        text += f" {', '.join(still)} {does} not depend on the seed, so the one run of "
        text += f"{still[0] if len(still) == 1 else 'each'} is paired with every seed{shots} of the other methods."
    return text


# ---------------------------------------------------------------------- the sentence that a page opens with


def finding(experiment: Experiment, results: Results, found: Numbers, sections: Sequence[Section]) -> str:
    """The mean difference, as in the table of differences, of the method that is compared (without one: of that with
    the highest mean) from the best of the others, and whether the seeds show it.

    Rows that cannot be compared with the others are left out. Empty where fewer than two methods have a number, and for
    rounds.
    """
    if experiment.added is not None or not sections:
        return ""
    section, lines = sections[-1], {line.label: line for line in results.lines}
    ranked = _ranked(section)
    mine = experiment.compare if experiment.compare in ranked else next(iter(ranked), "")
    rival = next((label for label in ranked if label != mine), "")
    if not rival:
        return ""
    one, other, across = lines[mine], lines[rival], experiment.protocol in CROSS
    where = f"target data sets, trained on {experiment.source}" if across else section.title
    best = ", the best of the other methods," if len(ranked) > 2 else ""
    datasets = [section.key] if section.key in results.datasets else results.datasets[across:]
    if doubts := not_of_methods_alone(results, one, other, datasets):
        return (
            f"{mine} and {rival}{best} cannot be compared seed by seed in {section.merit} ({where}), because the "
            f"results were {' and '.join(doubts)}."
        )
    cell = minus(results, found, one, other, section.key, ACCURACY if across else section.deciding)
    if cell is None:
        return f"{mine} and {rival}{best} cannot be compared in {section.merit} ({where}), because they share no seed."
    start = f"{mine} differs from {rival}{best} by {points(cell.mean)} percentage points in {section.merit} ({where}"
    if len(cell.by_seed) < 2:
        return f"{start}). One seed cannot show whether the difference is significant."
    if cell.interval is None:
        return f"{start}), with each of the {len(cell.by_seed)} seeds."
    low, high = cell.interval
    says = (
        "The interval does not contain 0, so the difference is significant over seeds."
        if low > 0 or high < 0
        else "The interval contains 0, so the difference is not significant over seeds."
    )
    return f"{start}; {LEVEL}% interval {points(low)} to {points(high)}, {len(cell.by_seed)} seeds). {says}"


def _ranked(section: Section) -> list[str]:
    """Measured methods that are compared, the best first; in few-shot, zero-shot CLIP has its own column."""
    at, means = section.columns.index(section.deciding), dict[str, float]()
    for row in section.rows:
        cell = row.cells[at] or (row.cells[section.columns.index("0")] if "0" in section.columns else None)
        if not row.source and not row.said and cell is not None:
            means[row.label] = cell.mean
    return sorted(means, key=lambda label: -means[label])
