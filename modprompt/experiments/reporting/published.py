"""Results that other authors published: rows of tables (published.yaml) and single seeds (published_seeds.csv)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from modprompt.clip.known import OPENAI
from modprompt.experiments.plan.experiment import BASE2NEW, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.runs import Runs, seeds_text

if TYPE_CHECKING:
    import pandas as pd

AVERAGE = "average"  # in place of a data set: the average over all data sets of an experiment
_FACTS = {  # the keys of a row that are not columns with an accuracy
    "protocol", "dataset", "method", "setting", "at", "source", "remark", "where", "H_of", "backbone", "shots",
}  # fmt: skip
_H_OF = {"means": "H of mean accuracies", "data_sets": "mean of the data sets' H", "": "H of unknown origin"}


class Published(NamedTuple):
    """A published row."""

    method: str  # the name in published.yaml
    label: str  # the method and, if several authors published results of the method, the authors
    numbers: Mapping[str, float]  # accuracies in percent by column
    source: str  # the files and lines, CLIP model, shots and setting, and remarks
    h_of: str  # the numbers from which H was computed; "" without an H


@functools.lru_cache(maxsize=1)
def read_rows() -> dict[str, Any]:
    """Return the content of published.yaml."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return content


def _make_row(row: Mapping[str, Any]) -> Published:
    known, places = read_rows(), []
    for name, line in row.get("at", {}).items():
        file, lines = known["files"][name], "lines" if "-" in str(line) else "line"
        places.append(f"{file['repository']}, {file['file']}, {lines} {line} (commit {file['commit'][:7]})")
    backbone, shots = (row.get(key, known[key]) for key in ("backbone", "shots"))
    h_of = _H_OF[row.get("H_of", known["H_of"])] if "H" in row else ""
    setting = ", ".join(filter(None, [backbone, f"{shots} shots" * (shots != ""), f"training: {row['setting']}"]))
    source = "; ".join(filter(None, [*places, row.get("source"), setting, h_of, row.get("remark")]))
    numbers = {key: value for key, value in row.items() if key not in _FACTS}
    label = f"{row['method']} ({row['where']})" if "where" in row else row["method"]
    return Published(row["method"], label, numbers, source, h_of)


def rows(experiment: Experiment, place: str) -> list[Published]:
    """Return the published rows of a data set, or of AVERAGE, with the protocol, shots and data sets of an experiment.

    There are none if classes have different numbers of shots, or if the training data set is not that of the papers.
    """
    known = read_rows()
    has_shots = experiment.protocol == "few_shot" or list(experiment.shots) == [known["shots"]]
    if not has_shots or not _is_comparable(experiment) or (place == AVERAGE and not _has_all_datasets(experiment)):
        return []
    return [
        _make_row(row) for row in known["rows"] if (row["protocol"], row["dataset"]) == (experiment.protocol, place)
    ]


def _has_all_datasets(experiment: Experiment) -> bool:
    return {*experiment.datasets} == {*read_rows()["averages_of"].get(experiment.protocol, ())}


def _is_comparable(experiment: Experiment) -> bool:
    return experiment.source in ("", "imagenet") and not any(method.shots_file for method in experiment.methods)


def note(experiment: Experiment) -> str:
    """Return a note on published results that no table contains; "" for other data sets than those of the papers."""
    if experiment.grids or not _has_all_datasets(experiment) or not _is_comparable(experiment):
        return ""
    return str(read_rows()["notes"].get(experiment.protocol, ""))


# ---------------------------------------------------------------------- single seeds


@functools.lru_cache(maxsize=1)
def read_seeds() -> pd.DataFrame:
    """Return the content of published_seeds.csv: tests of single seeds with the protocol base2new.

    The columns are method, set (the data set), half ("base" or "new"), seed, correct and total (numbers of test
    images), backbone (a CLIP model of OpenAI), shots, epochs and source (repository, commit and file).
    """
    import pandas as pd

    table = pd.read_csv(Path(__file__).with_name("published_seeds.csv"))
    return table.assign(accuracy_pct=100 * table["correct"] / table["total"])


def compare_seeds(runs: Runs) -> list[str]:
    """Return a sentence for each method, data set and half whose runs have the settings of published seeds."""
    if runs.experiment.protocol != BASE2NEW:
        return []
    texts, table = [], read_seeds()
    for method in runs.methods[runs.methods["published"].isin(table["method"])].itertuples():
        for dataset in runs.datasets:
            for half in ALONE:
                is_same = table["method"].eq(method.published) & table["set"].eq(dataset) & table["half"].eq(half)
                known = table[is_same]
                rows = runs.complete(method.label, dataset, half) if len(known) else None
                if rows is not None and all(_has_settings(result or {}, known.iloc[0]) for result in rows["result"]):
                    measured, other = (_range(frame) for frame in (rows, known))
                    source = " ".join(known["source"].iloc[0].split()[:2])
                    texts.append(
                        f"{method.label} on {dataset} ({half} classes): the accuracy in this experiment is {measured}. "
                        f"The published accuracy is {other} in {source}."
                    )
    return texts


def _has_settings(result: Mapping[str, Any], test: Any) -> bool:
    """Return True if a result has the CLIP model, shots, epochs and number of test images of a published test."""
    clip, settings = result.get("clip") or {}, result.get("settings") or {}
    measured = (clip.get("sha256"), result.get("shots"), settings.get("OPTIM.MAX_EPOCH"), result.get("images"))
    return measured == (OPENAI[test["backbone"]].sha256, test["shots"], str(test["epochs"]), test["total"])


def _range(rows: pd.DataFrame) -> str:
    low, high = f"{rows['accuracy_pct'].min():.2f}", f"{rows['accuracy_pct'].max():.2f}"
    return f"{low if low == high else f'{low} to {high}'}% ({seeds_text(rows['seed'])})"
