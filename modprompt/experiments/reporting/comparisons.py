"""What a report says about the method that `compare` names: its difference from each other one, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.by_seed import (
    ZERO_SHOTS,
    Values,
    by_seed,
    is_drawn,
    minus,
    not_of_methods_alone,
    own_column,
)
from modprompt.experiments.reporting.intervals import LEVEL
from modprompt.experiments.reporting.paired import FEWEST_TESTED, Difference, corrected
from modprompt.experiments.reporting.render import EMPTY
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.table import AVERAGE, named
from modprompt.io.text import one_line

FILE_NAME = "differences.csv"
_H = "H"
_ACCURACY = "accuracy"  # what runs of the cross protocols fill, whose columns are data sets
_FEW_SHOT = "few_shot"

Column = Mapping[str, Values]  # those of a table's column by method


class Compared(NamedTuple):
    """A method that another is compared with: the differences from it, by column, None where there is no pair.

    said: why they are not due to the methods alone; else empty.
    """

    label: str
    said: str
    differences: tuple[Difference | None, ...]

    @property
    def name(self) -> str:
        """Its name in tables."""
        return named(self.label, self.said)


class Table(NamedTuple):
    """The differences on a data set, or of means over data sets: `about` says how many pairs there are."""

    title: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[Compared, ...]
    about: str

    def texts(self, name: str) -> list[tuple[str, ...]]:
        """As people read it: names of columns, then a row for each method."""
        most = _most(self.rows)
        texts = [(one.name, *(_text(cell, most) for cell in one.differences)) for one in self.rows]
        return [(f"{name} minus", *self.columns), *texts]


class Comparisons(NamedTuple):
    """All tables; none where there is nothing to compare.

    name: the method, with remarks on its numbers.
    about: what the numbers are.
    tables: in the order of the report's.
    left_out: a line for each method and table with missing pairs.
    """

    name: str
    about: str
    tables: tuple[Table, ...]
    left_out: list[str]

    @property
    def title(self) -> str:
        """Of all tables."""
        return f"Differences by seed: {self.name} minus each other method"


class _Place(NamedTuple):
    """A column of a table: the data sets that it is the mean over, and the runs' column, or H."""

    name: str
    datasets: tuple[str, ...]
    column: str


def comparisons(experiment: Experiment, results: Results) -> Comparisons | None:
    """The differences of the experiment's `compare` from all other methods; None if it names none."""
    if not experiment.compare:
        return None
    found = [line for line in results.lines if line.label == experiment.compare]
    others = [line for line in results.in_groups() if line.label != experiment.compare]
    if not found or not others:
        why = "is not among the methods of this report" if not found else "is the only method of this report"
        return Comparisons(experiment.compare, "", (), [f"{experiment.compare} {why}"])
    (line,) = found
    tables, left_out = list[Table](), list[str]()
    for title, key, places in _places(experiment, results):
        columns = {place.name: _column(results, [line, *others], place) for place in places}
        rows = _rows(columns, line, others)
        datasets = list(dict.fromkeys(dataset for place in places for dataset in place.datasets))
        rows = [row._replace(said=_said(results, line, other, datasets)) for row, other in zip(rows, others)]
        tables.append(Table(title, key, tuple(columns), tuple(rows), _counted(tuple(columns), rows)))
        left_out += [f"{title}, {text}" for text in _left_out(columns, line, others)]
    name = named(line.label, _marks(results, line, results.datasets))
    return Comparisons(name, _about(experiment, results, [line, *others]), tuple(tables), left_out)


def _places(experiment: Experiment, results: Results) -> Iterator[tuple[str, str, list[_Place]]]:
    """Title, key and columns of each table, as in the report's tables of accuracy."""
    if experiment.protocol in CROSS:
        targets = tuple(results.datasets[1:])
        of_each = [_Place(dataset, (dataset,), _ACCURACY) for dataset in results.datasets]
        title = f"trained on {experiment.source}, tested on"
        yield title, AVERAGE, [*of_each, _Place(AVERAGE, targets, _ACCURACY)]
        return
    columns = [column for column in results.columns if column != ZERO_SHOTS]
    if experiment.protocol == BASE2NEW:
        columns = [*ALONE, _H]
    for dataset in results.datasets:
        yield dataset, dataset, [_Place(column, (dataset,), column) for column in columns]
    if len(results.datasets) > 1:
        title = f"average over {len(results.datasets)} data sets"
        yield title, AVERAGE, [_Place(column, tuple(results.datasets), column) for column in columns]


def _column(results: Results, lines: Sequence[Line], place: _Place) -> Column:
    """By label the numbers of those methods that have a number in a column, or should have."""
    return {
        one.label: by_seed(results, one, place.datasets, place.column)
        for one in lines
        if _is_asked(results, one, place.column)
    }


def _rows(columns: Mapping[str, Column], line: Line, others: Sequence[Line]) -> list[Compared]:
    def differences(column: Column) -> list[Difference | None]:
        own = column.get(line.label, {})
        return corrected([minus(line, own, other, column.get(other.label, {})) for other in others])

    of_column = map(differences, columns.values())
    return [Compared(other.label, "", cells) for other, cells in zip(others, zip(*of_column))]


def _is_asked(results: Results, line: Line, column: str) -> bool:
    if column == _H:
        return all(results.is_asked(line, half) for half in ALONE)
    return results.is_asked(line, own_column(results, line, column))


def _left_out(columns: Mapping[str, Column], line: Line, others: Sequence[Line]) -> Iterator[str]:
    """A line for each method and set of columns without the number that a pair would need."""
    found: dict[str, list[str]] = {}
    for name, column in columns.items():
        asked = [one for one in (line, *others) if one.label in column]
        if line not in asked or len(asked) < 2:
            continue
        for one in asked:
            partners = (other for other in asked if other is not one and line in (one, other))
            seeds = {seed for of in (one, *partners) if is_drawn(of) for seed in of.seeds}
            there = column[one.label]
            lacking = seeds - {*there} if is_drawn(one) else set() if there else {0}
            if lacking:
                of_seeds = f" of seed {', '.join(map(str, sorted(lacking)))}" if is_drawn(one) else ""
                found.setdefault(f"{one.label} has no number{of_seeds}", []).append(name)
    for why, names in found.items():
        yield f"{', '.join(names)}: {why}"


def _marks(results: Results, line: Line, datasets: Sequence[str]) -> str:
    return results.said(line, datasets, line.seeds)


def _said(results: Results, line: Line, other: Line, datasets: Sequence[str]) -> str:
    why = not_of_methods_alone(results, line, other, datasets)
    return "; ".join(filter(None, [_marks(results, other, datasets), *why]))


def _most(rows: Sequence[Compared]) -> int:
    """The most pairs that a cell has, which is what all have if nothing is missing."""
    return max((len(cell.by_seed) for row in rows for cell in row.differences if cell is not None), default=0)


def _counted(columns: Sequence[str], rows: Sequence[Compared]) -> str:
    """How many pairs the cells have, and over how many methods p is corrected."""
    most, cells = _most(rows), [cell for row in rows for cell in row.differences if cell is not None]
    if not cells:
        return "No pairs."
    others = " where no other number is given" if any(len(cell.by_seed) != most for cell in cells) else ""
    tested: dict[int, list[str]] = {}  # columns by the number of their methods with a p
    for column, of_column in zip(columns, zip(*(row.differences for row in rows))):
        tested.setdefault(sum(cell is not None and cell.p is not None for cell in of_column), []).append(column)
    tested.pop(0, None)
    if not tested:
        return f"n = {most}{others}; no p: it needs {FEWEST_TESTED} pairs that are not all equal."
    over = [f"{many} method{'s' * (many > 1)}" for many in tested]
    if len(tested) > 1:
        over = [f"{many} ({', '.join(named)})" for many, named in zip(over, tested.values())]
    return f"n = {most}{others}; p is Holm-corrected over {', '.join(over)}."


def _text(cell: Difference | None, most: int) -> str:
    """A cell: mean, interval, p, and the number of pairs where it is not the most."""
    if cell is None:
        return EMPTY
    interval = "" if cell.interval is None else f" [{_points(cell.interval[0])}, {_points(cell.interval[1])}]"
    parts = [f"{_points(cell.mean)}{interval}"]
    parts += ["equal in all pairs"] if cell.is_constant else []
    parts += [f"p {_p_text(cell.p_holm)}"] if cell.p_holm is not None else []
    parts += [f"n = {len(cell.by_seed)}"] if len(cell.by_seed) != most else []
    return ", ".join(parts)


def _points(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _about(experiment: Experiment, results: Results, lines: Sequence[Line]) -> str:
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
        shots = " and every number of shots" if experiment.protocol == _FEW_SHOT else ""
        draw = "draws nothing: its one run is" if len(still) == 1 else "draw nothing: the one run of each is"
        texts.append(f"{', '.join(still)} {draw} paired with every seed{shots} of the others.")
    return " ".join(texts)


def columns_of_csv(found: Comparisons) -> list[str]:
    """The head of the file of all differences."""
    names = ("difference", f"interval{LEVEL}_low", f"interval{LEVEL}_high")
    points = [f"{name}_points" for name in names]
    return [
        "table", "column", "method", "minus", "said", "pairs", *points, "p", "p_holm",
        *(f"seed_{seed}_points" for seed in _seeds(found)),
    ]  # fmt: skip


def _seeds(found: Comparisons) -> list[int]:
    cells = (cell for table in found.tables for row in table.rows for cell in row.differences if cell is not None)
    return sorted({seed for cell in cells for seed in cell.by_seed})


def rows_of_csv(found: Comparisons) -> list[list[str]]:
    """A row for each table, column and method; cells without a number are empty."""
    seeds = _seeds(found)
    return [
        [
            one_line(table.key),
            one_line(column),
            one_line(found.name),
            one_line(row.label),
            one_line(row.said),
            *_numbers_of_csv(cell, seeds),
        ]
        for table in found.tables
        for row in table.rows
        for column, cell in zip(table.columns, row.differences)
    ]


def _numbers_of_csv(cell: Difference | None, seeds: Sequence[int]) -> list[str]:
    if cell is None:
        return ["0", *[""] * (5 + len(seeds))]
    points = [cell.mean, *(cell.interval or (None, None))]
    p_values = ["" if p is None else f"{p:.6g}" for p in (cell.p, cell.p_holm)]
    of_seeds = [cell.by_seed.get(seed) for seed in seeds]
    texts = ["" if number is None else f"{number:.4f}" for number in (*points, *of_seeds)]
    return [str(len(cell.by_seed)), *texts[:3], *p_values, *texts[3:]]


def content(found: Comparisons) -> dict[str, Any]:
    """What report.json holds of it."""
    tables = [
        {
            "key": table.key,
            "title": table.title,
            "about": table.about,
            "columns": list(table.columns),
            "rows": [
                {
                    "minus": row.label,
                    **({"said": row.said} if row.said else {}),
                    "differences": [None if cell is None else _cell_content(cell) for cell in row.differences],
                }
                for row in table.rows
            ],
        }
        for table in found.tables
    ]
    return {"method": found.name, "about": found.about, "tables": tables, "left_out": found.left_out}


def _cell_content(cell: Difference) -> dict[str, Any]:
    return {
        "mean_points": cell.mean,
        f"interval{LEVEL}_points": None if cell.interval is None else list(cell.interval),
        "p": cell.p,
        "p_holm": cell.p_holm,
        "by_seed_points": {str(seed): value for seed, value in cell.by_seed.items()},
    }
