"""The state of a run, which follows from the files in its folder and from its lock.

finished    result.json is complete and was made with the current settings, CLIP model, images and first stage, and a
            test belongs to the current model of its training
running     a process holds the lock of the folder
failed      the last start ended with an error
waiting for labels
            the last start ended with a request for labels, and some labels are still missing
stale       the result was made with different settings, or with another schedule, CLIP model, split or few-shot list,
            or its training or first stage is stale
waiting     all other cases: the run was never started or was stopped, its result is damaged or belongs to an earlier
            model, or its first stage has not finished
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.active.picks_file import asked
from modprompt.experiments.plan.commands import expected_settings, tests_base_classes
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.first_stages import FIRST_STAGES, SEARCH
from modprompt.experiments.plan.inputs import Inputs
from modprompt.io import folder as run_folder
from modprompt.io import identity
from modprompt.io import result as results
from modprompt.io.records import read_json
from modprompt.io.text import one_line

CONSOLE = "job/console.txt"
FAILURE = "job/failure.json"
QUEUED = "job/queued.json"

FINISHED, RUNNING, WAITING, LABELS, FAILED, STALE = ORDER = (
    "finished", "running", "waiting", "waiting for labels", "failed", "stale",
)  # fmt: skip
BLOCKED = "blocked"  # only for a runner: the run needs another run that has not finished
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
    """The state of a run, the reason in one line, the complete result or None, and the Unix time of a failure."""

    name: str
    why: str = ""
    result: dict[str, Any] | None = None
    failed_s: float = 0.0

    @property
    def accuracy_pct(self) -> float | None:
        """Return the accuracy of a finished run in percent, or None if there were no test images."""
        assert self.result is not None
        accuracy: float | None = self.result["accuracy_pct"]
        return accuracy


def describe(title: str, name: str, why: str = "") -> str:
    """Return a sentence with the title of a run, its state and the reason."""
    text = f"{title} {_PREDICATES[name]}{f': {why}' if why else ''}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def last_line(path: Path) -> str:
    """Return the last line of a console file that is not blank; of a progress bar, only its last update."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        text = file.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def of_all(jobs: Sequence[Job], out: Path, inputs: Inputs | None = None) -> list[tuple[Job, State]]:
    """Return each run with its state. Each result is read once, even if several runs need it."""
    known: dict[str, State] = {}
    return [(job, of(job, out, inputs, known)) for job in jobs]


def of(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """Return the state of a run; see `by_result` for the arguments."""
    state = by_result(job, out, inputs, known)
    if state.name != FINISHED and run_folder.is_held(out / job.folder):
        return State(RUNNING)
    return _with_last_start(job, out, state)


def at_rest(job: Job, out: Path, inputs: Inputs | None = None) -> State:
    """Return the state of a run whose lock is held by the caller."""
    return _with_last_start(job, out, by_result(job, out, inputs))


def _with_last_start(job: Job, out: Path, state: State) -> State:
    """Return the state of a run, where a waiting run may have failed or asked for labels when it was last started."""
    failure = read_json(out / job.folder / FAILURE) if state.name == WAITING else None
    if failure is not None:
        line, time_s = failure.get("line"), failure.get("time_s")
        why = one_line(line) if isinstance(line, str) else f"the reason is unknown, because {FAILURE} is damaged"
        return State(FAILED, why, failed_s=time_s if isinstance(time_s, float) else 0.0)
    request = asked(out / job.folder) if state == State(WAITING) else None
    return state if request is None else State(LABELS if request.missing else WAITING, request.text)


def by_result(job: Job, out: Path, inputs: Inputs | None = None, known: dict[str, State] | None = None) -> State:
    """Return the state of a run according to its result, without its lock: finished, stale or waiting.

    Args:
        job: the run.
        out: the output folder.
        inputs: the current CLIP models and data sets; without them, only settings are compared.
        known: states by folder, to which the states of this run and of the runs that it needs are added.
    """
    known = {} if known is None else known
    if job.folder not in known:
        known[job.folder] = _read(job, out, inputs, known)
    return known[job.folder]


def _read(job: Job, out: Path, inputs: Inputs | None, known: dict[str, State]) -> State:
    folder = out / job.folder
    result, why = results.read(folder)
    if result is None:
        return State(WAITING, why)
    if job.first_stage:
        first_stage = by_result(job.first_stage, out, inputs, known)
        name = FIRST_STAGES[job.method.first_stage_key].name
        if first_stage.name == STALE:
            return State(STALE, f"{name} is stale, because {first_stage.why}", result)
        if first_stage.name != FINISHED:
            return State(WAITING, f"{name} has not finished")
    if why := _staleness(job, result, out, inputs):
        return State(STALE, why, result)
    missing_schedule = FIRST_STAGES[SEARCH].find_missing(folder) if job.kind == SEARCH else ""
    if why := missing_schedule or _missing_ood_test(job, result):
        return State(WAITING, why)
    if job.training:
        training = by_result(job.training, out, inputs, known)
        if training.name == STALE:
            return State(STALE, f"its training is stale, because {training.why}", result)
        trained = training.result
        folder_of_training = out / job.training.folder
        if trained and identity.of_other_weights(result, lambda: run_folder.weights_hash(folder_of_training), trained):
            return State(WAITING, "its training has saved a different model since this test")
    return State(FINISHED, "", result)


def _staleness(job: Job, result: dict[str, Any], out: Path, inputs: Inputs | None) -> str:
    """Return why a result does not belong to a run with the current settings and inputs, or ""."""
    if results.IMAGES_CHANGED in result:
        return f"the {results.CHANGED_DURING}"
    if not job.is_test and (tested := run_folder.test_of(result)):
        return f"a test of {tested} has replaced the result of the training"
    if not job.is_test and (beginnings := identity.differing_beginning(result.get(identity.BEGAN_FROM), "", "")):
        return "; ".join(beginnings)
    settings = expected_settings(job, out)
    differing = identity.differences(identity.facts(result), identity.wanted(settings, result), tests=job.is_test)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        return f"the result was made with different settings ({'; '.join(differing[:3])}{more})"
    changed = [] if inputs is None else inputs.changes(job, result, settings)
    return f"the inputs of the run have changed ({'; '.join(changed)})" if changed else ""


def _missing_ood_test(job: Job, result: dict[str, Any]) -> str:
    """Return that a result lacks the configured test on unknown classes, or ""."""
    configured = dict(job.method.options).get("TEST.OOD", "")
    is_tested = configured != results.NEW or tests_base_classes(job)
    lacking = results.lacks_unknown(result, configured) if is_tested else ""
    return f"the result was {lacking}" if lacking else ""
