"""The origin of the numbers of a report: the commit, date, device, weights and split of each method and of each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.reporting.runs import Runs
from modprompt.experiments.reporting.tables import AVERAGE, EMPTY, SPLIT_STATUS, Summary, Table, worth_of_image
from modprompt.io.base_new import SEEN
from modprompt.io.result import mark_of

COLUMNS = ("method", "commit", "date", "device", "CLIP weights", "split", "top-5 (%)", "ECE (%)", "jobs at once")
_FACTS_OF_RUN = (
    "images", "correct", "macro_f1_pct", "top5_pct", "ece_pct", "images_hash", "backbone_hash", "prompts_hash",
    "config_hash", "trainer", "backbone", "classes", "tested_on", "selected_on", "device", "jobs_at_once", "split",
    "few_shot", "date",
)  # fmt: skip


def origins(runs: Runs) -> dict[str, pd.DataFrame]:
    """Return, for each table of a report, a table of texts with a row for each method that has a result."""
    if runs.experiment.protocol in CROSS:  # one table of all data sets
        return {AVERAGE: _origins_on(runs, runs.datasets)}
    return {dataset: _origins_on(runs, [dataset]) for dataset in runs.datasets}


def _origins_on(runs: Runs, datasets: Sequence[str]) -> pd.DataFrame:
    table = []
    for label in runs.methods["label"]:
        rows = runs.select(label, datasets)
        results = [result for result in rows["result"] if result]
        if results:
            places = rows[["dataset", "column"]].drop_duplicates().itertuples(index=False)
            is_complete = all(runs.complete(label, *place) is not None for place in places)
            dates = sorted({str(result.get("date") or "") for result in results} - {""})
            facts = {
                "method": label,
                "commit": _summarize(_commit(result)[:12] for result in results),
                "date": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])) or EMPTY,
                "device": _summarize(str(result.get("device") or "") for result in results),
                "CLIP weights": _summarize(map(_clip, results)),
                "split": _summarize(map(_split, results)),
                "top-5 (%)": _mean(results, "top5_pct") if is_complete else EMPTY,
                "ECE (%)": _mean(results, "ece_pct") if is_complete else EMPTY,
                "jobs at once": _summarize(str(result.get("jobs_at_once") or "") for result in results),
            }
            table.append(facts)
    return pd.DataFrame(table, columns=list(COLUMNS))


def _commit(result: dict[str, Any]) -> str:
    """Return the commit of the code that made a result, or the version of an installed package."""
    versions = result.get("versions") or {}
    return str(versions.get("commit") or versions.get("modprompt") or "")


def _clip(result: dict[str, Any]) -> str:
    return f"{result.get('backbone') or ''} {_short_hash(result.get('backbone_hash'))}".strip()


def _split(result: dict[str, Any]) -> str:
    split = result.get("split") or {}
    status = SPLIT_STATUS.get(str(split.get("status")), split.get("status"))
    return f"{status or ''} {_short_hash(split.get('hash'))}".strip()


def _short_hash(digest: Any) -> str:
    return str(digest or "").rpartition(":")[2][:12]


def _summarize(texts: Iterable[str]) -> str:
    """Return the first two different texts, and how many more there are."""
    texts = list(dict.fromkeys(filter(None, texts)))
    return ", ".join(texts[:2]) + (f" and {len(texts) - 2} more" if len(texts) > 2 else "") or EMPTY


def _mean(results: Sequence[dict[str, Any]], key: str) -> str:
    values = [result[key] for result in results if result.get(key) is not None]
    return f"{fmean(values):.2f}" if len(values) == len(results) else EMPTY


def report_content(summary: Summary, differences: pd.DataFrame) -> dict[str, Any]:
    """Return the content of report.json: the runs, the tables, and the rows of differences.csv."""
    runs, _, tables = summary
    names = ("name", "title", "protocol", "source", "shots", "seeds", "highlight")
    return {
        **{name: getattr(runs.experiment, name) for name in names},
        "datasets": list(runs.datasets),
        "std": "population standard deviation (n in the denominator)",
        "runs": [_run_content(run) for run in runs.frame.itertuples()],
        "tables": [_table_content(runs, table) for table in tables],
        **({} if differences.empty else {"differences": differences.to_dict("records")}),
    }


def _run_content(run: Any) -> dict[str, Any]:
    result = run.result or {}
    facts = {key: result[key] for key in _FACTS_OF_RUN if result.get(key) not in (None, "")}
    more = {"commit": _commit(result), "lacks": run.reason, "notes": list(run.notes)}
    more |= {"selected_on_test": mark_of(result), SEEN: str(result.get(SEEN) or "")}
    place = {name: getattr(run, name) for name in ("method", "dataset", "column", "seed")}
    accuracy = None if pd.isna(run.accuracy_pct) else run.accuracy_pct
    return {**place, "accuracy_pct": accuracy, **facts, **{key: value for key, value in more.items() if value}}


def _table_content(runs: Runs, table: Table) -> dict[str, Any]:
    rows = []
    for at, row in enumerate(table.rows.itertuples()):
        numbers = {name: _numbers(frame.iloc[at]) for name, frame in (("mean", table.mean), ("std", table.std))}
        more = {"group": row.group, "seeds": list(row.seeds), "said": row.remark, "published_in": row.source}
        rows.append({"method": row.label, **numbers, **{key: value for key, value in more.items() if value}})
    facts = {"key": table.place, "title": table.title, "about": table.about, "columns": table.columns}
    details = [_table_content(runs, one) for one in table.details]
    return {**facts, "points_per_image": worth_of_image(runs, table.place), "rows": rows, "details": details}


def _numbers(row: pd.Series) -> list[float | None]:
    return [None if pd.isna(number) else float(number) for number in row]
