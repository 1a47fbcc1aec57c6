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

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.active.picks_file import asked
from modprompt.experiments.plan.commands import expected, tests_unknown
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

FINISHED, RUNNING, WAITING, LABELS, FAILED, STALE = ORDER = (
    "finished", "running", "waiting", "waiting for labels", "failed", "stale",
)  # fmt: skip
BLOCKED = "blocked"  # of a runner: waiting for a run that has not finished
_PREDICATES = {
    FINISHED: "has finished",
    RUNNING: "is running",
    WAITING: "is waiting",
    LABELS: "is waiting for labels",
    FAILED: "has failed",
    STALE: "is stale",
    BLOCKED: "is blocked",
}


class State(NamedTuple):
    """A run's state, the reason as a line, its result if it has a whole one, and when it failed (Unix time)."""

    name: str
    why: str = ""
    result: dict[str, Any] | None = None
    failed_s: float = 0.0

    @property
    def accuracy_pct(self) -> float | None:
        """Accuracy of a run that has a result, in percent; None if it had no test images."""
        assert self.result is not None
        accuracy: float | None = self.result["accuracy_pct"]
        return accuracy


def describe(title: str, name: str, why: str = "") -> str:
    """Return a sentence with the title of a run, its state and the reason."""
    text = f"{title} {_PREDICATES[name]}{f': {why}' if why else ''}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def last_line(path: Path) -> str:
    """The last line of a console that is not blank; for a progress bar, what it shows last."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        text = file.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def _staleness(job: Job, result: dict[str, Any], out: Path, inputs: Inputs | None) -> str:
    """Why a result does not belong to a run; empty if it does."""
    if results.IMAGES_CHANGED in result:
        return f"the {results.CHANGED_DURING}"
    if not job.tests and (tested := run_folder.test_of(result)):
        return f"a test of {tested} has replaced the result of the training"
    if not job.tests and (beginnings := run_folder.differing_beginning(result, "")):
        return "; ".join(beginnings)
    wanted = expected(job, out)
    differing = same_run.differences(same_run.facts(result), same_run.wanted(wanted, result), tests=job.tests)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        return f"the result was made with different settings ({'; '.join(differing[:3])}{more})"
    changed = [] if inputs is None else inputs.changes(job, result, wanted)
    return f"the inputs of the run have changed ({'; '.join(changed)})" if changed else ""


def by_result(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """A run's state by its result alone, without looking at its lock: finished, stale or waiting.

    Without `inputs` only settings are compared. `known` are states by folder, which gets those that are read now.
    """
    known = {} if known is None else known
    if job.folder not in known:
        known[job.folder] = _read(job, out, inputs, known)
    return known[job.folder]


def _read(job: Job, out: Path, inputs: Inputs | None, known: dict[str, State]) -> State:
    result, why = results.read(out / job.folder)
    if result is None:
        return State(WAITING, why)
    if job.first:
        first, what = by_result(job.first, out, inputs, known), stage_of(job.method.stage_of).called
        if first.name == STALE:
            return State(STALE, f"{what} is stale, because {first.why}", result)
        if first.name != FINISHED:
            return State(WAITING, f"{what} has not finished")
    if stale := _staleness(job, result, out, inputs):
        return State(STALE, stale, result)
    if fault := stage_of(job.stage).lacks(out / job.folder) or _untested(job, result):
        return State(WAITING, fault)
    if job.parent:
        training, parent = by_result(job.parent, out, inputs, known), out / job.parent.folder
        if training.name == STALE:
            return State(STALE, f"its training is stale, because {training.why}", result)
        if training.result and run_folder.of_other_weights(result, parent, trained=training.result):
            return State(WAITING, "its training has saved a different model since this test")
    return State(FINISHED, "", result)


def _untested(job: Job, result: dict[str, Any]) -> str:
    """That a result lacks unknown classes that its run asks for; empty if it does not."""
    asked = dict(job.method.options).get("TEST.OOD", "")
    lacking = results.lacks_unknown(result, asked) if asked != results.NEW or tests_unknown(job) else ""
    return f"the result was {lacking}" if lacking else ""


def of_all(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[tuple[Job, State]]:
    """The states of runs, each with its job; every result is read once, also a training's for all its tests."""
    known: dict[str, State] = {}
    return [(job, of(job, out, inputs, known)) for job in jobs]


def of(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """The state of a run below an output folder; see by_result."""
    state = by_result(job, out, inputs, known)
    return (
        State(RUNNING) if state.name != FINISHED and run_folder.is_held(out / job.folder) else _at_rest(job, out, state)
    )


def at_rest(job: Job, out: Path, inputs: Inputs | None = None) -> State:
    """As of, for who holds the run's lock."""
    return _at_rest(job, out, by_result(job, out, inputs))


def _at_rest(job: Job, out: Path, state: State) -> State:
    failure = read_json(out / job.folder / FAILURE) if state.name == WAITING else None
    if failure is not None:
        line, time_s = failure.get("line"), failure.get("time_s")
        why = one_line(line) if isinstance(line, str) else f"the reason is unknown, because {FAILURE} is damaged"
        return State(FAILED, why, failed_s=time_s if isinstance(time_s, float) else 0.0)
    asks = asked(out / job.folder) if state == State(WAITING) else None
    return state if asks is None else State(LABELS if asks.missing else WAITING, asks.text)
