"""What was published, from published.yaml: numbers, and their sources."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modprompt.experiments.plan.experiment import Experiment

AVERAGE = "average"  # in place of a data set's name: the average over all of an experiment
_OTHER_KEYS = (
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
)
H_OF = {"means": "H of the means", "data_sets": "mean of H", "": "not known what its H is of"}
_FEW_SHOT = "few_shot"  # whose columns are shots
_SOURCE = "imagenet"  # what all published figures across data sets were trained on


class Published(NamedTuple):
    """A published row.

    method: its name there.
    label: the method, and whose numbers these are, where it has several.
    numbers: accuracies in percent, by column.
    source: files and lines, backbone, shots and setting, and what a reader must know about the numbers.
    h_of: what its H is computed from; empty if it has none.
    """

    method: str
    label: str
    numbers: Mapping[str, float]
    source: str
    h_of: str = ""


@functools.lru_cache(maxsize=1)
def known() -> dict[str, Any]:
    """The content of published.yaml."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return content


def _places(row: Mapping[str, Any]) -> Iterable[str]:
    """The sources of a row's numbers, for people: a repository's file with line and commit."""
    for name, line in row.get("at", {}).items():
        file = known()["files"][name]
        word = "lines" if "-" in str(line) else "line"
        yield f"{file['repository']} {file['file']} {word} {line} (commit {file['commit'][:7]})"
    if "source" in row:
        yield row["source"]


def h_of(row: Mapping[str, Any]) -> str:
    """What a row's H is computed from, in words; empty if it has none."""
    return H_OF[row.get("H_of", known()["H_of"])] if "H" in row else ""


def _remarks(row: Mapping[str, Any]) -> Iterable[str]:
    if h_of(row):
        yield h_of(row)
    if "remark" in row:
        yield row["remark"]


def _of_row(row: Mapping[str, Any]) -> Published:
    backbone, shots = (row.get(key, known()[key]) for key in ("backbone", "shots"))
    how = [backbone, *([] if shots == "" else [f"{shots} shots"]), f"setting: {row['setting']}"]
    source = "; ".join([*_places(row), ", ".join(how), *_remarks(row)])
    numbers = {key: value for key, value in row.items() if key not in _OTHER_KEYS}
    label = f"{row['method']} ({row['where']})" if "where" in row else row["method"]
    return Published(row["method"], label, numbers, source, h_of(row))


def rows(experiment: Experiment, dataset: str) -> list[Published]:
    """All that was published on a data set, or on the average over exactly the experiment's, in its protocol and shots.

    Args:
        experiment: whose protocol, shots and data sets count.
        dataset: a data set's name, or `AVERAGE`.
    """
    if experiment.protocol != _FEW_SHOT and list(experiment.shots) != [known()["shots"]]:
        return []
    if (dataset == AVERAGE and not _is_over_all(experiment)) or experiment.source not in ("", _SOURCE):
        return []
    place = (experiment.protocol, dataset)
    return [_of_row(row) for row in known()["rows"] if (row["protocol"], row["dataset"]) == place]


def _is_over_all(experiment: Experiment) -> bool:
    return set(experiment.datasets) == set(known()["averages_of"].get(experiment.protocol, ()))


def note_of(experiment: Experiment) -> str:
    """A note on published figures that are in no cell; only for the paper's own data sets and methods."""
    if experiment.grids or not _is_over_all(experiment) or experiment.source not in ("", _SOURCE):
        return ""
    note: str = known()["notes"].get(experiment.protocol, "")
    return note
