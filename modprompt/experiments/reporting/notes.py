"""The sentences below the tables of a report: missing runs, warnings, CLIP models, and methods without new classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modprompt.clip.known import whose
from modprompt.experiments.plan.experiment import BASE2NEW
from modprompt.experiments.plan.first_stages import describe_ignored
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.runs import DECODING, FEW_SHOT, IMAGES, WEIGHTS, Runs, seeds_text

_EASIER = {"classes": "some classes of the published data set are missing"}  # facts of a split that make it easier


def shots_text(column: str) -> str:
    """Return the name of a column of shots with its unit."""
    return f"{column} shot{'s' * (column != '1')}"


def missing(runs: Runs) -> list[str]:
    """Return a sentence for each method, data set and reason why results are missing or cannot be averaged."""
    lacking = runs.frame[~runs.frame["finished"]]
    texts = []
    for (label, dataset, reason), rows in lacking.groupby(["method", "dataset", "reason"], sort=False):
        columns = [shots_text(column) if column.isdigit() else column for column in rows["column"]]
        names = [f"{column} seed {seed}".removeprefix("accuracy ") for column, seed in zip(columns, rows["seed"])]
        texts.append(f"{label} has no result on {dataset} for {', '.join(names)} ({reason}).")
    for label in runs.methods["label"]:
        mixtures = {dataset: runs.mixture(label, [dataset], with_runs=True) for dataset in runs.datasets}
        if not any(mixtures.values()):
            mixtures = {"all data sets": runs.mixture(label, runs.datasets, with_runs=True)}
        texts += [f"{label} on {place} has {why}." for place, why in mixtures.items() if why]
    return texts


def without_test_images(runs: Runs) -> list[str]:
    """Return a sentence for each method and data set whose finished runs have no test images."""
    rows = runs.frame[runs.frame["finished"] & runs.frame["accuracy_pct"].isna()]
    return [
        f"{label} on {dataset}, {seeds_text(own['seed'])}: there are no test images, and the run has no accuracy."
        for (label, dataset), own in rows.groupby(["method", "dataset"], sort=False)
    ]


def warnings(runs: Runs) -> list[str]:
    """Return sentences on facts in which methods differ, so that they cannot be compared, on splits and on settings."""
    of_splits, of_settings = dict[str, None](), dict[str, None]()
    for run in runs.frame[runs.frame["result"].notna()].itertuples():
        split = run.result.get("split") or {}
        easier = (f"{run.dataset}: {text} ({split[key]})." for key, text in _EASIER.items() if split.get(key))
        of_splits.update(dict.fromkeys(easier))
        if text := describe_ignored(str(run.result.get("trainer")), run.result.get("settings") or {}):
            of_settings[f"{run.method}: {text.rstrip('.')}."] = None
    facts = runs.facts[runs.facts["fact"].isin([DECODING, IMAGES, FEW_SHOT, WEIGHTS])]
    texts = []
    for (fact, place, _), rows in facts.groupby(["fact", "place", "version"], sort=False):
        labels = rows.groupby("value", sort=False)["method"].unique()
        if len(labels) > 1:
            methods = " / ".join(map(", ".join, labels))
            texts.append(f"The runs of these methods differ in {fact} ({place}) and cannot be compared: {methods}.")
    return [*of_splits, *texts, *of_settings]


def clip_models(runs: Runs) -> list[str]:
    """Return a line for each CLIP model: its name, activation, heads and fingerprint, and the methods that use it."""
    labels: dict[str, dict[str, None]] = {}
    for run in runs.frame[runs.frame["result"].notna()].itertuples():
        clip = run.result.get("clip") or {}
        if clip.get("fingerprint"):
            labels.setdefault(_describe_clip(clip), {})[run.method] = None
    return [
        f"{text}." if len(own) == len(runs.methods) else f"{text}: {', '.join(own)}." for text, own in labels.items()
    ]


def _describe_clip(clip: Mapping[str, Any]) -> str:
    weights = whose(str(clip.get("name") or ""), str(clip.get("dialect") or ""))
    facts = [f"weights: {weights}"] if weights else []
    facts += [f"activation {clip['activation']}"] if clip.get("activation") else []
    facts += [f"{' and '.join(map(str, clip['heads']))} attention heads"] if clip.get("heads") else []
    commit = str(clip.get("commit") or "")
    name = str(clip.get("file") or clip.get("name") or "CLIP without a name")
    pinned = f"@{commit}" if commit and commit not in name else ""
    return f"{name}{pinned} ({', '.join([*facts, 'fingerprint'])} {clip['fingerprint']})"


def class_notes(runs: Runs) -> list[str]:
    """Return sentences about methods whose learned parameters belong to the training classes."""
    experiment, bound, others = runs.experiment, list[str](), list[str]()
    if experiment.protocol == BASE2NEW:
        bound = [label for label in runs.methods["label"] if not all(runs.has_column(label, half) for half in ALONE)]
    if experiment.protocol in (BASE2NEW, "cross_dataset") or experiment.rounds is not None:
        is_bound = [bool((result or {}).get("class_bound")) for result in runs.frame["result"]]
        others = list(runs.frame["method"][is_bound].unique())
    texts = {
        "These methods have no results on new classes, because their learned parameters belong to the training "
        "classes": bound,
        "When these methods are tested on new classes only, the parameters learned for single classes have no effect, "
        "and the accuracy is that of the features without these parameters": others,
    }
    return [f"{text}: {', '.join(labels)}." for text, labels in texts.items() if labels]
