"""What a report says of the searches of two-stage methods: how many, what they cost, how they do by themselves."""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any, Collection, Sequence

from modprompt.experiments.plan.job import Job
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.render import cell_text
from modprompt.experiments.reporting.results import Results
from modprompt.experiments.reporting.table import Cell
from modprompt.experiments.running import state
from modprompt.runs.result import seconds, shared_gpu


def lines(results: Results) -> list[str]:
    """A line for each two-stage method, data set and column."""
    return [
        f"{family}, {dataset}{'' if column == 'accuracy' else f' {column}'}: {_told(trainings, searches, results.odd)}"
        for (family, dataset, column), (trainings, searches) in results.searches.items()
    ]


def _told(trainings: Sequence[Job], searches: Sequence[tuple[Job, state.State]], odd: Collection[str]) -> str:
    first = searches[0][0]
    shared = trainings[0].method.search_seed is not None
    seeds = ", ".join(str(job.seed) for job, _ in searches)
    how = f"one search for all seeds, search_seed {seeds}" if shared else f"one search per seed ({seeds})"
    found = [stands.result or {} for _, stands in searches if stands.name == state.FINISHED]
    runs = [(job.dataset, f"seed {job.seed}", stands.result or {}) for job, stands in searches]
    no_mean = alike.in_words(alike.parted(runs, odd))
    lacking = [f"seed {job.seed} {_why(stands)}" for job, stands in searches if stands.name != state.FINISHED]
    parts = [f"{how}, by {first.method.trainer} ({first.method.folder})"]
    parts += [_took(found), f"tested itself: {no_mean or _accuracies(found)}"] if found and not lacking else []
    return "; ".join([*parts, *(["not finished: " + ", ".join(lacking)] if lacking else [])])


def _why(stands: state.State) -> str:
    return f"{stands.name} ({stands.why})" if stands.why else stands.name


def _took(found: Sequence[dict[str, Any]]) -> str:
    if any(shared_gpu(result) for result in found):
        return "on a GPU that runs shared"
    return f"{sum(float(result.get('elapsed_s') or 0.0) for result in found):,.0f} s in all (the last start of each)"


def _accuracies(found: Sequence[dict[str, Any]]) -> str:
    """Means over searches, in percent, of the mixture of options and of the path that was chosen."""
    of_both = [result["search"] for result in found if isinstance(result.get("search"), dict)]
    names = {"mixture_pct": "mixture", "path_pct": "discrete path"}
    texts = [
        f"{name} {_mean([float(one[key]) for one in of_both])}%"
        for key, name in names.items()
        if len(of_both) == len(found) and all(isinstance(one.get(key), (int, float)) for one in of_both)
    ]
    return ", ".join(texts) or f"{_mean([float(result['accuracy_pct']) for result in found])}%"


def _mean(values: Sequence[float]) -> str:
    return cell_text(Cell(fmean(values), pstdev(values) if len(values) > 1 else None))


def share_s(results: Results, family: str, dataset: str, column: str) -> float | None:
    """Seconds of searching for each training of a method; 0 where it has no search, None where one does not say it."""
    trainings, found = results.searches.get((family, dataset, column), ((), ()))
    trained_s = [seconds(stands.result, "training_s") for _, stands in found]
    known = [float(one) for one in trained_s if one is not None]
    if len(known) < len(trained_s):
        return None
    return sum(known) / len(trainings) if trainings else 0.0
