"""Known classes against unknown ones (TEST.OOD): tables, ood.csv and a figure of the runs that have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.tables import AVERAGE, Numbers, Section, most_shots, row_of
from modprompt.io.result import NEW, of_unknown

FILE_NAME = "ood.csv"
TITLE = "detection of unknown classes"
_MEASURES = {
    f"{name}, {score}": (score, key)
    for score in ("probability", "energy")
    for name, key in (("AUROC", "auroc_pct"), ("FPR at 95% TPR", "fpr95_pct"))
}
COLUMNS = tuple(_MEASURES)
RISING = tuple(column for column in COLUMNS if column.startswith("AUROC"))  # higher is better
_ABOUT = (
    "The test images of the training classes (known) are separated from images of {} (unknown) by a score; a high "
    "score means known. All numbers are in percent."
)


def _column(results: Results, line: Line) -> str:
    """The column of the runs that count: of the base classes, of the most shots, else the only one."""
    asked = [column for column in results.columns if results.is_asked(line, column)]
    return most_shots(asked) or asked[0]


def numbers(results: Results) -> Numbers | None:
    """Means over seeds by data set and column, and over data sets; None if no run was tested so."""
    rows = []
    for line, dataset, column, seed, outcome in results.all():
        if column != _column(results, line):
            continue
        if outcome.is_there and (found := of_unknown(outcome.result)):
            cells = (found[score][key] for score, key in _MEASURES.values())
            rows += [(line.label, seed, dataset, column, cell) for column, cell in zip(COLUMNS, cells)]
    if not rows:
        return None
    runs = pd.DataFrame(rows, columns=["method", "seed", "dataset", "column", "value"])
    index = pd.MultiIndex.from_tuples([(line.label, seed) for line in results.lines for seed in line.seeds])
    columns = pd.MultiIndex.from_product([results.datasets, COLUMNS])
    wide = runs.pivot_table("value", ["method", "seed"], ["dataset", "column"]).reindex(index=index, columns=columns)
    if len(results.datasets) > 1:
        for column in COLUMNS:
            wide[AVERAGE, column] = wide[[(dataset, column) for dataset in results.datasets]].to_numpy().mean(axis=1)
    labels = [line.label for line in results.lines]
    mean, std = (
        pd.DataFrame({one: take(wide.loc[one].to_numpy(), axis=0) for one in labels}, index=wide.columns).T
        for take in (np.mean, np.std)
    )
    return Numbers(wide, mean, std)


def against(results: Results) -> str:
    """What the unknown classes are."""
    found = [of_unknown(outcome.result) for *_, outcome in results.all()]
    named = dict.fromkeys(str(one["of"]) for one in found if one)
    return ", ".join("the new classes" if one == NEW else one for one in named)


def with_unknown(
    experiment: Experiment, results: Results, sections: Sequence[Section], found: Numbers
) -> list[Section]:
    """Tables, each with a further one of the same data set."""
    about = _ABOUT.format(against(results))
    notes = [
        f"{line.label}: {note.rstrip('.')}."
        for line, *_, outcome in results.all()
        if (note := of_unknown(outcome.result).get("note"))
    ]
    about = " ".join([about, *dict.fromkeys(notes)])
    more = []
    for section in sections:
        rows = [
            row_of(
                experiment, results, line, section.key, [found.cell(line.label, section.key, one) for one in COLUMNS]
            )
            for line in results.in_groups()
        ]
        rows = [row for row in rows if any(row.cells)]
        falling = tuple(column for column in COLUMNS if column not in RISING)
        own = Section(f"{section.title}: {TITLE}", section.key, COLUMNS, tuple(rows), about, falling)
        more.append(section._replace(details=(*section.details, own)) if rows else section)
    return more
