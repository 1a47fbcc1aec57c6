"""The state of a run, by the files in its folder and its lock; nothing is remembered that could be untrue.

finished    result.json is whole, with these settings, this CLIP and these images, and the model that its training has
running     a process holds the lock
failed      its last start ended with an error
waiting for labels
            its last start ended by asking for labels, and some are still missing
stale       its result was made with other settings, another schedule, CLIP, split or few-shot list, or its training or
            search was
waiting     anything else: never started, stopped, its result is damaged or from an earlier model, its search is missing
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.active.asked import asked
from modprompt.experiments.plan.commands import expected
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.stages import stage_of
from modprompt.io import folder as run_folder
from modprompt.io import result as results
from modprompt.io import same_run
from modprompt.io.records import read_json
from modprompt.io.text import one_line

CONSOLE = "job/console.txt"
FAILURE = "job/failure.json"
QUEUED = "job/queued.json"

FINISHED, RUNNING, FAILED, STALE, WAITING = "finished", "running", "failed", "stale", "waiting"
LABELS = "waiting for labels"


class State(NamedTuple):
    """A run's state, the reason as a line, its result if it has a whole one, and when it failed (Unix time)."""

    name: str
    why: str = ""
    result: dict[str, Any] | None = None
    failed_s: float = 0.0

    @property
    def accuracy_pct(self) -> float | None:
        """Accuracy of a run that has a result, in percent; None if it had no test images.

        Raises:
            ValueError: if it has none.
        """
        if self.result is None:
            raise ValueError(f"a run that is {self.name} has no accuracy")
        accuracy: float | None = self.result["accuracy_pct"]
        return accuracy


def is_finished(folder: Path, settings: Mapping[str, str], tests: bool, parent: Path | None, stage: str = "") -> bool:
    """Whether a run's folder has a whole result with these settings, and from the model in its parent's folder.

    A feature's first stage must also have what it leaves.
    """
    result = results.read(folder).result
    if result is None or _other_run(result, settings, tests) or stage_of(stage).lacks(folder):
        return False
    trained = None if parent is None else run_folder.of_training(parent).result
    return trained is None or not run_folder.of_other_weights(result, str(parent), trained=trained)


def _other_run(result: dict[str, Any], settings: Mapping[str, str], tests: bool) -> str:
    """Why a result does not belong to a run; empty if it does."""
    return ("" if tests else _no_training(result)) or _other_settings(result, settings, tests)


def _other_settings(result: dict[str, Any], settings: Mapping[str, str], tests: bool) -> str:
    differing = same_run.differences(same_run.facts(result), same_run.wanted(settings, result), tests=tests)
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return f"made with other settings: {'; '.join(differing[:3])}{more}" if differing else ""


def _no_training(result: dict[str, Any]) -> str:
    """Why a result is not from a training from its start; empty if it is."""
    if run_folder.test_of(result):
        return f"replaced by a test of {run_folder.test_of(result)}"
    return "; ".join(run_folder.differing_beginning(result, ""))


def _staleness(job: Job, result: dict[str, Any], out: Path, inputs: Inputs | None) -> str:
    wanted = expected(job, out)
    other = _other_run(result, wanted, job.tests)
    changed = [] if other or inputs is None else inputs.changes(job, result, wanted)
    return other or (f"made of other inputs: {'; '.join(changed)}" if changed else "")


def by_result(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """A run's state by its result alone, without looking at its lock: finished, stale or waiting.

    Args:
        job: the run.
        out: the output folder.
        inputs: what results are compared with; None to look at their settings alone.
        known: what was read already, by folder; it gets what is read now.
    """
    known = {} if known is None else known
    if job.folder not in known:
        known[job.folder] = _read(job, out, inputs, known)
    return known[job.folder]


def _read(job: Job, out: Path, inputs: Inputs | None, known: dict[str, State]) -> State:
    result, why = results.read(out / job.folder)
    if result is None:
        return State(WAITING, why)
    first = by_result(job.first, out, inputs, known) if job.first else None
    if job.first and first is not None and first.name != FINISHED:
        what = stage_of(job.method.stage_of).called
        if first.name == STALE:
            return State(STALE, f"{what} was {first.why}", result)
        return State(WAITING, f"{what} is not there")
    stale = _staleness(job, result, out, inputs)
    if stale:
        return State(STALE, stale, result)
    if fault := stage_of(job.stage).lacks(out / job.folder):
        return State(WAITING, fault)
    if job.parent is None:
        return State(FINISHED, "", result)
    training = by_result(job.parent, out, inputs, known)
    if training.name == STALE:
        return State(STALE, f"its training was {training.why}", result)
    if training.result is not None and run_folder.of_other_weights(
        result, out / job.parent.folder, trained=training.result
    ):
        return State(WAITING, "its training has made another model since")
    return State(FINISHED, "", result)


def of_all(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[tuple[Job, State]]:
    """The states of runs, each with its job; every result is read once, also a training's for all its tests."""
    known: dict[str, State] = {}
    return [(job, of(job, out, inputs, known)) for job in jobs]


def of(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """The state of a run below an output folder; see by_result."""
    state, folder = by_result(job, out, inputs, known), out / job.folder
    if state.name == FINISHED:
        return state
    if run_folder.is_held(folder):
        return State(RUNNING)
    failure = read_json(folder / FAILURE) if state.name == WAITING else None
    if failure is not None:
        return _failed(failure)
    asks = asked(folder) if state == State(WAITING) else None
    return state if asks is None else State(LABELS if asks.missing else WAITING, asks.text)


def _failed(failure: Mapping[str, Any]) -> State:
    """The state from the record of a failure; a part of a wrong type counts as missing."""
    line, time_s = failure.get("line"), failure.get("time_s")
    why = one_line(line) if isinstance(line, str) else f"{FAILURE} is damaged and does not say why"
    is_time = isinstance(time_s, (int, float)) and not isinstance(time_s, bool) and math.isfinite(time_s)
    return State(FAILED, why, failed_s=float(time_s or 0.0) if is_time else 0.0)
