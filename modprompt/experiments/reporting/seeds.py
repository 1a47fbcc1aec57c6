"""Published counts of single seeds, from published_seeds.csv, beside runs of the same method, data and setting."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip.known import OPENAI
from modprompt.experiments.plan.experiment import BASE2NEW, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.results import Results


class Published(NamedTuple):
    """A test of one seed; all are of protocol base2new."""

    method: str
    set: str  # data set, as configs name it
    half: str  # base or new
    seed: int
    correct: int
    total: int  # test images
    backbone: str  # one of OpenAI's
    shots: int
    epochs: int
    source: str  # repository, commit, file

    @property
    def accuracy_pct(self) -> float:
        """Of the test, exactly."""
        return 100 * self.correct / self.total


@functools.lru_cache(maxsize=1)
def known() -> list[Published]:
    """All of published_seeds.csv."""
    numbers = {"seed", "correct", "total", "shots", "epochs"}
    with Path(__file__).with_name("published_seeds.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = [
            {key: int(text) if key in numbers else text for key, text in row.items()} for row in csv.DictReader(file)
        ]
    return [Published(**row) for row in rows]


def beside(experiment: Experiment, results: Results) -> list[str]:
    """A line for each method, data set and half whose runs are as published ones: the range over seeds of both."""
    if experiment.protocol != BASE2NEW:
        return []
    texts = []
    for line in results.lines:
        for dataset in results.datasets:
            for half in ALONE:
                own = [one for one in known() if (one.method, one.set, one.half) == (line.published, dataset, half)]
                runs = results.runs(line, dataset, half) if own else None
                if runs and all(_is_as(own[0], run.result or {}) for run in runs):
                    here = _over([run.accuracy_pct for run in runs if run.accuracy_pct is not None], line.seeds)
                    there = _over([one.accuracy_pct for one in own], [one.seed for one in own])
                    source = " ".join(own[0].source.split()[:2])
                    texts.append(
                        f"{line.label} on {dataset} ({half} classes): the accuracy in this experiment is {here}. The "
                        f"published accuracy is {there} in {source}."
                    )
    return texts


def _is_as(one: Published, result: Mapping[str, Any]) -> bool:
    """Whether a result has the backbone, shots, epochs and number of test images of a published test."""
    clip, settings = result.get("clip") or {}, result.get("settings") or {}
    return (clip.get("sha256"), result.get("shots"), settings.get("OPTIM.MAX_EPOCH"), result.get("images")) == (
        OPENAI[one.backbone].sha256,
        one.shots,
        str(one.epochs),
        one.total,
    )


def _over(values: Sequence[float], seeds: Sequence[int]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    what = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return f"{low if low == high else f'{low} to {high}'}% ({what})"
