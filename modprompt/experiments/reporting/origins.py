"""Where the rows of a report come from: commit, date, GPU, weights and split of each, from its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import comparisons
from modprompt.experiments.reporting.alike import split_facts
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.table import Section
from modprompt.io.base_new import SEEN
from modprompt.io.images import mark_of
from modprompt.io.records import sealed
from modprompt.io.result import FILE_NAME

COLUMNS = ("method", "commit", "date", "card", "weights", "split", "top-5 (%)", "ECE (%)")
_UNKNOWN = "-"


def origins(results: Results, datasets: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each method that has a result on one of some data sets: a text for each of `COLUMNS`."""
    rows = []
    for line in results.lines:
        every = list(results.all(line, datasets))
        outcomes = [outcome for *_, outcome in every if outcome.result is not None]
        if outcomes:
            places = {(dataset, column) for _, dataset, column, _, _ in every}
            rows.append(_row(line, outcomes, is_whole=all(results.runs(line, *place) for place in places)))
    return rows


def _row(line: Line, outcomes: list[Outcome], is_whole: bool) -> tuple[str, ...]:
    found = [outcome.result for outcome in outcomes if outcome.result is not None]
    return (
        line.label,
        _each(found, lambda result: commit_of(result)[:12]),
        _dates(outcomes),
        _each(found, lambda result: str(result.get("device") or "")),
        _each(found, weights_of),
        _each(found, split_of),
        *(_mean(found, key) if is_whole else _UNKNOWN for key in ("top5_pct", "ece_pct")),
    )


def commit_of(result: dict[str, Any]) -> str:
    """The commit of the code that a result was made with; for an installed package its version."""
    versions = result.get("versions") or {}
    return str(versions.get("commit") or versions.get("modprompt") or "")


def weights_of(result: dict[str, Any]) -> str:
    """The CLIP's name and the hash of its weights."""
    digest = str(result.get("backbone_hash") or "")
    return " ".join(filter(None, [str(result.get("backbone") or ""), digest.rpartition(":")[2][:12]]))


def split_of(result: dict[str, Any]) -> str:
    """Whether the split is the published one, and its hash."""
    split = split_facts(result)
    digest = str(split.get("hash") or "").rpartition(":")[2][:12]
    return " ".join(filter(None, [str(split.get("status") or ""), digest]))


def made_on(outcome: Outcome) -> str:
    """The day on which a result was written, in UTC; "" if it is not known."""
    try:
        written_s = (outcome.folder / FILE_NAME).stat().st_mtime if outcome.folder else 0.0
    except OSError:
        return ""
    return time.strftime("%Y-%m-%d", time.gmtime(written_s)) if written_s else ""


def _dates(outcomes: Iterable[Outcome]) -> str:
    days = sorted({made_on(outcome) for outcome in outcomes} - {""})
    return _UNKNOWN if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _each(found: list[dict[str, Any]], told: Callable[[dict[str, Any]], str]) -> str:
    texts = list(dict.fromkeys(text for text in map(told, found) if text))
    return ", ".join(texts[:2]) + (f" and {len(texts) - 2} more" if len(texts) > 2 else "") or _UNKNOWN


def _mean(found: list[dict[str, Any]], key: str) -> str:
    known = [result[key] for result in found if result.get(key) is not None]
    return f"{fmean(known):.2f}" if len(known) == len(found) else _UNKNOWN


REPORT_FILE = "report.json"
VERSION = 1
_NUMBERS = ("images", "correct", "accuracy_pct", "macro_f1_pct", "top5_pct", "ece_pct")
_HASHES = ("images_hash", "backbone_hash", "prompts_hash", "config_hash")
_TEXTS = ("trainer", "backbone", "classes", "tested_on", "selected_on", "device")


def content(
    experiment: Experiment,
    results: Results,
    sections: Sequence[Section],
    compared: comparisons.Comparisons | None = None,
) -> dict[str, Any]:
    """What the file holds, sealed.

    Args:
        experiment: what was run.
        results: its results.
        sections: the tables.
        compared: the differences of a method from the others, if the experiment asks for them.
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
        **({"differences": comparisons.content(compared)} if compared else {}),
    }
    return sealed(facts, VERSION)


def _run(line: Line, dataset: str, column: str, seed: int, outcome: Outcome) -> dict[str, Any]:
    """A run; what its result does not say is left out."""
    result = outcome.result or {}
    told = {
        key: result[key]
        for key in (*_NUMBERS, *_HASHES, *_TEXTS, "split", "few_shot")
        if result.get(key) not in (None, "")
    }
    more = {
        "commit": commit_of(result),
        "date": made_on(outcome),
        "selected_on_test": mark_of(result),
        SEEN: str(result.get(SEEN) or ""),
        "doubt": outcome.doubt,
    }
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
