"""One method minus another, seed by seed: mean differences, intervals, paired tests, and the sentence of a page's top.

A pair is a seed for which both have a number; a method that draws nothing has its one number for every seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.tables import ACCURACY, AVERAGE, EMPTY, Numbers, Section, named
from modprompt.io.text import one_line

FILE_NAME = "differences.csv"
LEVEL = 95  # of intervals, in percent
FEWEST_TESTED = 5  # pairs that a test needs
_EQUAL = 1e-9  # percentage points: one image in a million is more
ZERO_SHOTS = "0"  # the column of few-shot runs for what trains nothing
_H = "H"


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
    """One method minus another, in percentage points.

    by_seed: of each pair.
    mean: of these.
    interval: of the mean; None for one pair, and where all are equal.
    p: of the paired t-test, two-sided; None for fewer than `FEWEST_TESTED` pairs, and where all are equal.
    p_holm: the same by Holm's correction, once `corrected` has made it.
    """

    by_seed: Mapping[int, float]
    mean: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_holm: float | None = None


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """The difference of two methods over the seeds for which both have a number, in percent; None if there is none."""
    seeds = [seed for seed in one if seed in other]
    if not seeds:
        return None
    values = [one[seed] - other[seed] for seed in seeds]
    found = Difference(dict(zip(seeds, values)), fmean(values))
    if max(values) - min(values) < _EQUAL:  # also of one pair
        return found
    found = found._replace(interval=interval(values))
    if len(values) < FEWEST_TESTED:
        return found
    from scipy import stats

    test = stats.ttest_rel([one[seed] for seed in seeds], [other[seed] for seed in seeds])
    return found._replace(p=float(test.pvalue))


def corrected(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """The same with `p_holm`, over those m that have a p.

    Holm, 1979 (Scandinavian Journal of Statistics 6, 65-70): the k-th smallest, k from 0, is multiplied by m - k, is
    at most 1, and is at least the one before it.
    """
    found, least = list(differences), 0.0
    tested = sorted((one.p, at) for at, one in enumerate(differences) if one is not None and one.p is not None)
    for rank, (p, at) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        found[at] = found[at]._replace(p_holm=least)  # type: ignore[union-attr]
    return found


def is_drawn(line: Line) -> bool:
    """Whether seeds of a method may give different numbers: not if it trains nothing and has one run."""
    return line.trains or len(line.seeds) > 1


def own_column(results: Results, line: Line, column: str) -> str:
    """The column that has a method's numbers: one that trains nothing has one for all numbers of shots."""
    is_same = column.isdigit() and not line.trains and results.is_asked(line, ZERO_SHOTS)
    return ZERO_SHOTS if is_same else column


def minus(results: Results, found: Numbers, line: Line, other: Line, place: str, column: str) -> Difference | None:
    """One method's numbers minus another's; None where no seed has both."""
    own, others = (found.of_seeds(one.label, place, own_column(results, one, column)) for one in (line, other))
    if not is_drawn(line):
        own = {seed: value for seed in other.seeds for value in own.values()}
    elif not is_drawn(other):
        others = {seed: value for seed in line.seeds for value in others.values()}
    return difference(own, others)


def not_of_methods_alone(results: Results, line: Line, other: Line, datasets: Sequence[str]) -> list[str]:
    """Why one method's numbers minus another's, seed by seed, are not the difference of the methods alone."""
    differing = alike.differing(results, line, other, datasets)
    made = [f"made with other {' and '.join(differing)}"] if differing else []
    there = [one for of in (line, other) for *_, one in results.all(of, datasets) if one.accuracy_pct is not None]
    made += ["from logs, which do not say the images of a seed"] if any(one.result is None for one in there) else []
    return made


class Compared(NamedTuple):
    """A method that another is compared with: the differences from it, by column, None where there is no pair.

    said: why they are not due to the methods alone; else empty.
    """

    label: str
    said: str
    differences: tuple[Difference | None, ...]


class Table(NamedTuple):
    """The differences on a data set, or of means over data sets; `about` says how many pairs there are."""

    title: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[Compared, ...]

    @property
    def most(self) -> int:
        """The most pairs that a cell has, which is what all have if nothing is missing."""
        return max((len(cell.by_seed) for row in self.rows for cell in row.differences if cell is not None), default=0)

    @property
    def about(self) -> str:
        """How many pairs the cells have, and over how many methods p is corrected."""
        cells = [cell for row in self.rows for cell in row.differences if cell is not None]
        if not cells:
            return "No pairs."
        others = " where no other number is given" if any(len(cell.by_seed) != self.most for cell in cells) else ""
        tested: dict[int, list[str]] = {}  # columns by the number of their methods with a p
        for column, of_column in zip(self.columns, zip(*(row.differences for row in self.rows))):
            tested.setdefault(sum(cell is not None and cell.p is not None for cell in of_column), []).append(column)
        tested.pop(0, None)
        if not tested:
            return f"n = {self.most}{others}; no p: it needs {FEWEST_TESTED} pairs that are not all equal."
        over = [f"{many} method{'s' * (many > 1)}" for many in tested]
        if len(tested) > 1:
            over = [f"{many} ({', '.join(columns)})" for many, columns in zip(over, tested.values())]
        return f"n = {self.most}{others}; p is Holm-corrected over {', '.join(over)}."

    def texts(self) -> list[tuple[str, ...]]:
        """As people read it: a row for each method."""
        return [
            (named(row.label, row.said), *(_text(cell, self.most) for cell in row.differences)) for row in self.rows
        ]


class Comparison(NamedTuple):
    """A method, with remarks on its numbers, minus each other one: all tables, and the pairs that are missing."""

    name: str
    about: str
    tables: tuple[Table, ...]
    left_out: list[str]

    @property
    def title(self) -> str:
        """Of all tables."""
        return f"Differences by seed: {self.name} minus each other method"

    def texts(self) -> Iterator[tuple[str, str, list[str], list[tuple[str, ...]]]]:
        """Of each table its title, how many pairs it has, the names of its columns, and its rows."""
        for table in self.tables:
            head = [f"{self.name} minus", *table.columns]
            yield f"{self.title}, {table.title}", table.about, head, table.texts()


def compare(experiment: Experiment, results: Results, found: Numbers) -> Comparison | None:
    """The differences of the experiment's `compare` from all other methods; None if it names none."""
    if not experiment.compare:
        return None
    lines = {line.label: line for line in results.in_groups()}
    line = lines.pop(experiment.compare, None)
    if line is None or not lines:
        why = "is not among the methods of this report" if line is None else "is the only method of this report"
        return Comparison(experiment.compare, "", (), [f"{experiment.compare} {why}"])
    others, tables, left_out = list(lines.values()), list[Table](), list[str]()
    for title, key, places in _places(experiment, results):
        datasets = results.datasets if key not in results.datasets else (key,)
        by_column = [
            corrected([_minus(results, found, line, other, *place) for other in others]) for place in places.values()
        ]
        rows = [
            Compared(other.label, _said(results, line, other, datasets), cells)
            for other, cells in zip(others, zip(*by_column))
        ]
        tables.append(Table(title, key, tuple(places), tuple(rows)))
        left_out += [f"{title}, {text}" for text in _left_out(results, found, places, line, others)]
    name = named(line.label, results.said(line, results.datasets, line.seeds))
    return Comparison(name, _about(experiment, [line, *others]), tuple(tables), left_out)


Places = Mapping[str, tuple[str, str]]  # columns of a table, each with the place and column of its numbers


def _places(experiment: Experiment, results: Results) -> Iterator[tuple[str, str, Places]]:
    """Title, key and columns of each table, as in the report's tables of accuracy."""
    if experiment.protocol in CROSS:
        places = {name: (name, ACCURACY) for name in (*results.datasets, AVERAGE)}
        yield f"trained on {experiment.source}, tested on", AVERAGE, places
        return
    columns = [column for column in results.columns if column != ZERO_SHOTS]
    columns = [*ALONE, _H] if experiment.protocol == BASE2NEW else columns
    for dataset in results.datasets:
        yield dataset, dataset, {column: (dataset, column) for column in columns}
    if len(results.datasets) > 1:
        title = f"average over {len(results.datasets)} data sets"
        yield title, AVERAGE, {column: (AVERAGE, column) for column in columns}


def _is_asked(results: Results, line: Line, column: str) -> bool:
    own = ALONE if column == _H else (own_column(results, line, column),)
    return all(results.is_asked(line, one) for one in own)


def _minus(results: Results, found: Numbers, line: Line, other: Line, place: str, column: str) -> Difference | None:
    if not (_is_asked(results, line, column) and _is_asked(results, other, column)):
        return None
    return minus(results, found, line, other, place, column)


def _left_out(results: Results, found: Numbers, places: Places, line: Line, others: Sequence[Line]) -> Iterator[str]:
    """A line for each method and set of columns without the number that a pair would need."""
    lacks: dict[str, list[str]] = {}
    for name, (place, column) in places.items():
        asked = [one for one in (line, *others) if _is_asked(results, one, column)]
        if line not in asked or len(asked) < 2:
            continue
        for one in asked:
            there = found.of_seeds(one.label, place, own_column(results, one, column))
            partners = (other for other in asked if other is not one and line in (one, other))
            seeds = {seed for of in (one, *partners) if is_drawn(of) for seed in of.seeds} - {*there}
            if is_drawn(one) and seeds:
                lacks.setdefault(f"{one.label} has no number of seed {', '.join(map(str, sorted(seeds)))}", []).append(
                    name
                )
            elif not is_drawn(one) and not there:
                lacks.setdefault(f"{one.label} has no number", []).append(name)
    for why, names in lacks.items():
        yield f"{', '.join(names)}: {why}"


def _said(results: Results, line: Line, other: Line, datasets: Sequence[str]) -> str:
    own = results.said(other, datasets, other.seeds)
    return "; ".join(filter(None, [own, *not_of_methods_alone(results, line, other, datasets)]))


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


def _about(experiment: Experiment, lines: Sequence[Line]) -> str:
    """What the numbers are, of all tables."""
    texts = [
        f"Percentage points; a pair is a seed, n the number of pairs. The mean of the differences, its {LEVEL}% "
        "interval by Student's t with n - 1 degrees of freedom (of each alone), and the p-value of a two-sided paired "
        "t-test (scipy.stats.ttest_rel), Holm-corrected over the methods of a table, each column alone; for fewer than "
        f"{FEWEST_TESTED} pairs there is no p-value, for one pair no interval. All of it is about further seeds on "
        "these data sets, not about other data sets."
    ]
    if experiment.protocol == BASE2NEW:
        texts.append(
            "H of a seed is that of its own base and new accuracy, so the mean difference may differ from that of the "
            "tables' H, which are those of the means."
        )
    still = [line.label for line in lines if not is_drawn(line)]
    if still and len(still) < len(lines):
        shots = " and every number of shots" if experiment.protocol == "few_shot" else ""
        draw = "draws nothing: its one run is" if len(still) == 1 else "draw nothing: the one run of each is"
        texts.append(f"{', '.join(still)} {draw} paired with every seed{shots} of the others.")
    return " ".join(texts)


def csv_of(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The columns of the file of all differences, and a row for each table, column and method."""
    cells = [cell for table in found.tables for row in table.rows for cell in row.differences if cell is not None]
    seeds = sorted({seed for cell in cells for seed in cell.by_seed})
    head = [
        "table", "column", "method", "minus", "said", "pairs", "difference_points", f"interval{LEVEL}_low_points",
        f"interval{LEVEL}_high_points", "p", "p_holm", *(f"seed_{seed}_points" for seed in seeds),
    ]  # fmt: skip
    rows = [
        [*map(one_line, (table.key, column, found.name, row.label, row.said)), *_numbers_of_csv(cell, seeds)]
        for table in found.tables
        for row in table.rows
        for column, cell in zip(table.columns, row.differences)
    ]
    return head, rows


def _numbers_of_csv(cell: Difference | None, seeds: Sequence[int]) -> list[str]:
    if cell is None:
        return ["0", *[""] * (5 + len(seeds))]
    of_seeds = [cell.by_seed.get(seed) for seed in seeds]
    texts = ["" if one is None else f"{one:.4f}" for one in (cell.mean, *(cell.interval or (None, None)), *of_seeds)]
    p_values = ["" if p is None else f"{p:.6g}" for p in (cell.p, cell.p_holm)]
    return [str(len(cell.by_seed)), *texts[:3], *p_values, *texts[3:]]


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
    one, other = lines[mine], lines[rival]
    place, column = section.key, ACCURACY if experiment.protocol in CROSS else section.deciding
    where = f"the targets, trained on {experiment.source}" if experiment.protocol in CROSS else section.title
    best = "the best of the others" if len(ranked) > 2 else "the other"
    start = f"{mine} minus {rival}, {best}: {section.merit}, {where}"
    datasets = [place] if place in results.datasets else results.datasets[experiment.protocol in CROSS :]
    if doubts := not_of_methods_alone(results, one, other, datasets):
        return f"{start}: seeds are not paired, since numbers are {' and '.join(doubts)}."
    cell = minus(results, found, one, other, place, column)
    if cell is None or len(cell.by_seed) < 2:
        lead = "" if cell is None else f" {points(cell.mean)} points;"
        return f"{start}:{lead} fewer than two seeds do not show whether that is more than chance."
    if cell.interval is None:
        return f"{start}: {points(cell.mean)} points with each of {len(cell.by_seed)} seeds."
    low, high = cell.interval
    says = "the seeds show it" if low > 0 or high < 0 else "no difference that the seeds show"
    between = f"{LEVEL}% interval {points(low)} to {points(high)}, {len(cell.by_seed)} seeds"
    return f"{start}: {points(cell.mean)} points ({between}): {says}."


def _ranked(section: Section) -> list[str]:
    """Measured methods that are compared, the best first; in few-shot, zero-shot CLIP has its own column."""
    at, means = section.columns.index(section.deciding), dict[str, float]()
    for row in section.rows:
        cell = row.cells[at] or (row.cells[section.columns.index("0")] if "0" in section.columns else None)
        if not row.source and not row.said and cell is not None:
            means[row.label] = cell.mean
    return sorted(means, key=lambda label: -means[label])
