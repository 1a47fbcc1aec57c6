"""A report for programs: each run with its numbers and the hashes of what it was made of, and the tables."""

from __future__ import annotations

from typing import Any, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.origins import commit_of, made_on
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.table import Section
from modprompt.runs.images import mark_of
from modprompt.storage.seal import sealed

FILE_NAME = "report.json"
VERSION = 1
_NUMBERS = ("images", "correct", "accuracy_pct", "macro_f1_pct", "top5_pct", "ece_pct")
_HASHES = ("images_hash", "backbone_hash", "prompts_hash", "config_hash")
_TEXTS = ("trainer", "backbone", "classes", "tested_on", "selected_on", "device")


def content(experiment: Experiment, results: Results, sections: Sequence[Section]) -> dict[str, Any]:
    """What the file holds, sealed.

    Args:
        experiment: what was run.
        results: what came of it.
        sections: the tables.
    """
    runs = [_run(line, dataset, column, seed, outcome) for line, dataset, column, seed, outcome in results.all()]
    facts = {
        "name": experiment.name,
        "title": experiment.title,
        "protocol": experiment.protocol,
        "source": experiment.source,
        "datasets": list(results.datasets),
        "shots": list(experiment.shots),
        "seeds": list(experiment.seeds),
        "highlight": experiment.highlight,
        "std": "population standard deviation: n in the denominator",
        "runs": runs,
        "tables": [_table(section) for section in sections],
    }
    return sealed(facts, VERSION)


def _run(line: Line, dataset: str, column: str, seed: int, outcome: Outcome) -> dict[str, Any]:
    """A run; what its result does not say is not there."""
    result = outcome.result or {}
    told = {
        key: result[key]
        for key in (*_NUMBERS, *_HASHES, *_TEXTS, "split", "few_shot")
        if result.get(key) not in (None, "")
    }
    more = {"commit": commit_of(result), "date": made_on(outcome), "marked": mark_of(result), "doubt": outcome.doubt}
    return {
        "method": line.label,
        "dataset": dataset,
        "column": column,
        "seed": seed,
        **told,
        "accuracy_pct": outcome.accuracy_pct,
        **({"lacks": outcome.reason} if outcome.reason else {}),
        **({"notes": list(outcome.notes)} if outcome.notes else {}),
        **{key: text for key, text in more.items() if text},
    }


def _table(section: Section) -> dict[str, Any]:
    rows = [
        {
            "method": row.label,
            **({"group": row.group} if row.group else {}),
            **({"seeds": list(row.seeds)} if row.seeds else {}),
            **({"said": row.said} if row.said else {}),
            "mean": [None if cell is None else cell.mean for cell in row.cells],
            "std": [None if cell is None else cell.std for cell in row.cells],
            **({"published_in": row.source} if row.source else {}),
        }
        for row in section.rows
    ]
    told = {"key": section.key, "title": section.title, "about": section.about, "columns": list(section.columns)}
    return {**told, "rows": rows, "details": [_table(one) for one in section.details]}
