"""Where the numbers of a report come from: commit, date, GPU, weights and split of each method, and of each run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.results import Outcome, Results
from modprompt.experiments.reporting.tables import AVERAGE, EMPTY, Section
from modprompt.io.base_new import SEEN
from modprompt.io.images import mark_of

COLUMNS = ("method", "commit", "date", "device", "CLIP weights", "split", "top-5 (%)", "ECE (%)")
_OF_RUN = (
    "images", "correct", "macro_f1_pct", "top5_pct", "ece_pct", "images_hash", "backbone_hash", "prompts_hash",
    "config_hash", "trainer", "backbone", "classes", "tested_on", "selected_on", "device", "split", "few_shot", "date",
)  # fmt: skip


def origins(experiment: Experiment, results: Results) -> dict[str, list[tuple[str, ...]]]:
    """By table a row for each method that has a result on its data sets: a text for each of `COLUMNS`."""
    if experiment.protocol in CROSS:  # one table of all data sets
        return {AVERAGE: _rows(results, results.datasets)}
    return {dataset: _rows(results, [dataset]) for dataset in results.datasets}


def _rows(results: Results, datasets: Sequence[str]) -> list[tuple[str, ...]]:
    rows = []
    for line in results.lines:
        runs = list(results.all(line, datasets))
        known = [outcome.result for *_, outcome in runs if outcome.result is not None]
        if known:
            is_whole = all(results.runs(line, *place) for place in {(run[1], run[2]) for run in runs})
            means = [_mean(known, key) if is_whole else EMPTY for key in ("top5_pct", "ece_pct")]
            dates = sorted({str(one.get("date") or "") for one in known} - {""})
            facts = zip(*((_commit(one)[:12], str(one.get("device") or ""), *_hashes(one)) for one in known))
            commit, *others = map(_distinct, facts)
            rows.append(
                (line.label, commit, " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])) or EMPTY, *others, *means)
            )
    return rows


def _commit(result: dict[str, Any]) -> str:
    """The commit of the code that a result was made with; for an installed package its version."""
    versions = result.get("versions") or {}
    return str(versions.get("commit") or versions.get("modprompt") or "")


def _hashes(result: dict[str, Any]) -> list[str]:
    """A CLIP and a split, each with the beginning of its hash."""
    split = alike.split_facts(result)
    status = alike.SPLIT_STATUS.get(str(split.get("status")), split.get("status"))
    pairs = (result.get("backbone"), result.get("backbone_hash")), (status, split.get("hash"))
    return [f"{name or ''} {str(digest or '').rpartition(':')[2][:12]}".strip() for name, digest in pairs]


def _distinct(texts: Sequence[str]) -> str:
    texts = list(dict.fromkeys(filter(None, texts)))
    return ", ".join(texts[:2]) + (f" and {len(texts) - 2} more" if len(texts) > 2 else "") or EMPTY


def _mean(known: Sequence[dict[str, Any]], key: str) -> str:
    values = [one[key] for one in known if one.get(key) is not None]
    return f"{fmean(values):.2f}" if len(values) == len(known) else EMPTY


def content(
    experiment: Experiment, results: Results, sections: Sequence[Section], differences: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """What report.json holds: the runs, the tables, and the rows of differences.csv, numbers as they are."""
    facts = ("name", "title", "protocol", "source", "shots", "seeds", "highlight")
    return {
        **{name: getattr(experiment, name) for name in facts},
        "datasets": list(results.datasets),
        "std": "population standard deviation (n in the denominator)",
        "runs": [
            {"method": line.label, "dataset": dataset, "column": column, "seed": seed, **_run(outcome)}
            for line, dataset, column, seed, outcome in results.all()
        ],
        "tables": [_table(section) for section in sections],
        **({"differences": list(differences)} if differences else {}),
    }


def _run(outcome: Outcome) -> dict[str, Any]:
    """A run; what its result does not say is left out."""
    result = outcome.result or {}
    more = {"commit": _commit(result), "lacks": outcome.reason, "notes": list(outcome.notes)}
    more.update({"selected_on_test": mark_of(result), SEEN: str(result.get(SEEN) or "")})
    told = {key: result[key] for key in _OF_RUN if result.get(key) not in (None, "")}
    return {"accuracy_pct": outcome.accuracy_pct, **told, **{key: value for key, value in more.items() if value}}


def _table(section: Section) -> dict[str, Any]:
    rows = []
    for row in section.rows:
        more = {"group": row.group, "seeds": list(row.seeds), "said": row.said, "published_in": row.source}
        cells = {name: [getattr(cell, name, None) for cell in row.cells] for name in ("mean", "std")}
        rows.append({"method": row.label, **cells, **{key: value for key, value in more.items() if value}})
    told = {name: getattr(section, name) for name in ("key", "title", "about", "columns")}
    return {**told, "rows": rows, "details": [_table(one) for one in section.details]}
