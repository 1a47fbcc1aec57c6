"""What was published, from published.yaml: numbers, and their sources."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modprompt.experiments.plan.experiment import Experiment

AVERAGE = "average"  # in place of a data set's name: the average over all of an experiment
_OTHER_KEYS = {
    "protocol",
    "dataset",
    "method",
    "setting",
    "at",
    "source",
    "remark",
    "where",
    "H_of",
    "backbone",
    "shots",
}
H_OF = {"means": "H of mean accuracies", "data_sets": "mean of the data sets' H", "": "H of unknown origin"}


class Published(NamedTuple):
    """A published row."""

    method: str  # its name there
    label: str  # the method, and whose numbers these are, where it has several
    numbers: Mapping[str, float]  # accuracies in percent, by column
    source: str  # files and lines, backbone, shots and setting, and what a reader must know about the numbers
    h_of: str  # what its H is computed from; empty if it has none


@functools.lru_cache(maxsize=1)
def known() -> dict[str, Any]:
    """The content of published.yaml."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return content


def h_of(row: Mapping[str, Any]) -> str:
    """What a row's H is computed from, in words; empty if it has none."""
    return H_OF[row.get("H_of", known()["H_of"])] if "H" in row else ""


def _of_row(row: Mapping[str, Any]) -> Published:
    files, places = known()["files"], []
    for name, line in row.get("at", {}).items():
        where = f"{files[name]['repository']}, {files[name]['file']}, {'lines' if '-' in str(line) else 'line'} {line}"
        places.append(f"{where} (commit {files[name]['commit'][:7]})")
    backbone, shots = (row.get(key, known()[key]) for key in ("backbone", "shots"))
    how = ", ".join(filter(None, [backbone, f"{shots} shots" if shots != "" else "", f"training: {row['setting']}"]))
    source = "; ".join(filter(None, [*places, row.get("source"), how, h_of(row), row.get("remark")]))
    numbers = {key: value for key, value in row.items() if key not in _OTHER_KEYS}
    label = f"{row['method']} ({row['where']})" if "where" in row else row["method"]
    return Published(row["method"], label, numbers, source, h_of(row))


def rows(experiment: Experiment, dataset: str) -> list[Published]:
    """All that was published on a data set, or on the average over exactly the experiment's, in its protocol and shots.

    Args:
        experiment: whose protocol, shots and data sets count.
        dataset: a data set's name, or `AVERAGE`.
    """
    has_shots = experiment.protocol == "few_shot" or list(experiment.shots) == [known()["shots"]]
    if not has_shots or not _is_comparable(experiment) or (dataset == AVERAGE and not _is_over_all(experiment)):
        return []
    place = (experiment.protocol, dataset)
    return [_of_row(row) for row in known()["rows"] if (row["protocol"], row["dataset"]) == place]


def _is_over_all(experiment: Experiment) -> bool:
    return set(experiment.datasets) == set(known()["averages_of"].get(experiment.protocol, ()))


def _is_comparable(experiment: Experiment) -> bool:
    """Whether classes have equally many shots, and training was on what published figures across data sets are of."""
    return experiment.source in ("", "imagenet") and not any(method.shots_file for method in experiment.methods)


def note_of(experiment: Experiment) -> str:
    """A note on published figures that are in no cell; only for the paper's own data sets and methods."""
    if experiment.grids or not _is_over_all(experiment) or not _is_comparable(experiment):
        return ""
    note: str = known()["notes"].get(experiment.protocol, "")
    return note
