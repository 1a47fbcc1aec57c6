"""Where the rows of a report come from: commit, date, card, weights and split of each, as its results have them."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Any, Callable, Iterable, Sequence

from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.runs.result import FILE_NAME

COLUMNS = ("method", "commit", "date", "card", "weights", "split", "top-5 (%)", "ECE (%)")
_UNKNOWN = "-"


def origins(results: Results, datasets: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each method that has a result on one of some data sets: a text for each of `COLUMNS`."""
    rows = []
    for line in results.lines:
        places = [(dataset, name) for dataset in datasets for name in results.columns if results.is_asked(line, name)]
        every = [one for place in places for one in results.outcomes(line, *place).values()]
        outcomes = [outcome for outcome in every if outcome.result is not None]
        if outcomes:
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
    """The commit of the code that a result was made with; of an installed package its version."""
    versions = result.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    return str(versions.get("commit") or versions.get("modprompt") or "")


def weights_of(result: dict[str, Any]) -> str:
    """The CLIP's name and the hash of its weights."""
    digest = str(result.get("backbone_hash") or "")
    return " ".join(filter(None, [str(result.get("backbone") or ""), digest.rpartition(":")[2][:12]]))


def split_of(result: dict[str, Any]) -> str:
    """Whether the split is the published one, and its hash."""
    split = result.get("split")
    split = split if isinstance(split, dict) else {}
    digest = str(split.get("hash") or "").rpartition(":")[2][:12]
    return " ".join(filter(None, [str(split.get("status") or ""), digest]))


def made_on(outcome: Outcome) -> str:
    """The day on which a result was written, in UTC; "" if nobody knows."""
    path = outcome.folder / FILE_NAME if isinstance(outcome.folder, Path) else None
    try:
        written_s = path.stat().st_mtime if path else 0.0
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
    numbers = [result.get(key) for result in found]
    known = [float(number) for number in numbers if isinstance(number, (int, float)) and not isinstance(number, bool)]
    return f"{fmean(known):.2f}" if len(known) == len(found) else _UNKNOWN
