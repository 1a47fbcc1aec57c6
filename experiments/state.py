"""How a run stands, told by the files in its folder and by its lock; nothing is remembered that could be untrue.

finished    result.json is whole, of these settings, and of the model that its training now has
running     somebody holds the lock
failed      its last start ended with an error
stale       its result was made with other settings, or its training was
waiting     anything else: never started, stopped, or its result is damaged or of an earlier model
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from experiments.commands import expected, expected_hash
from experiments.protocols import Job
from modprompt.given import changes
from modprompt.runs import folder as run_folder

RESULT = "result.json"
CONSOLE = "job/console.txt"
FAILURE = "job/failure.json"
QUEUED = "job/queued.json"

FINISHED, RUNNING, FAILED, STALE, WAITING = "finished", "running", "failed", "stale", "waiting"


class State(NamedTuple):
    """A run's state, the reason for it in a line, its result if it has a whole one, and when it failed (Unix time)."""

    name: str
    why: str = ""
    result: dict[str, Any] | None = None
    failed_s: float = 0.0


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none or it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_result(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The result of a run's folder, or None and the reason why there is none."""
    path = folder / RESULT
    result = read_json(path)
    if result is None:
        return None, f"{RESULT} is damaged" if path.exists() else ""
    accuracy = result.get("accuracy_pct")
    if isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)) or not 0 <= accuracy <= 100:
        return None, f"{RESULT} is damaged (accuracy_pct {str(accuracy)[:20]})"
    if not isinstance(result.get("settings", {}), dict):
        return None, f"{RESULT} is damaged (settings)"
    return result, ""


def _outdated(result: dict[str, Any], trained: dict[str, Any] | None) -> bool:
    """Whether a test is of another model than the one that its training, if it has a result, now has."""
    return trained is not None and trained.get("prompts_hash") != result.get("prompts_hash")


def is_finished(folder: Path, settings_hash: str, parent: Path | None) -> bool:
    """Whether a run's folder has a whole result of these settings, and of the model in its parent's folder."""
    result, _ = read_result(folder)
    if result is None or result.get("config_hash") != settings_hash:
        return False
    return parent is None or not _outdated(result, read_result(parent)[0])


def _staleness(job: Job, result: dict[str, Any]) -> str:
    if result.get("config_hash") == expected_hash(job):
        return ""
    settings = result.get("settings")
    if not isinstance(settings, dict):
        return "made by an earlier version, which did not record its settings"
    differing = changes(settings, expected(job))
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return f"made with other settings: {'; '.join(differing[:3])}{more}"


def of_result(job: Job, out: Path) -> State:
    """A run's state by its result alone: finished, stale or waiting."""
    result, why = read_result(out / job.folder)
    if result is None:
        return State(WAITING, why)
    stale = _staleness(job, result)
    if stale:
        return State(STALE, stale, result)
    if job.parent is None:
        return State(FINISHED, "", result)
    training = of_result(job.parent, out)
    if training.name == STALE:
        return State(STALE, f"its training was {training.why}", result)
    if _outdated(result, training.result):
        return State(WAITING, "its training has made another model since")
    return State(FINISHED, "", result)


def of(job: Job, out: Path) -> State:
    """How a run stands below an output folder."""
    state, folder = of_result(job, out), out / job.folder
    if state.name == FINISHED:
        return state
    if run_folder.is_held(folder):
        return State(RUNNING)
    failure = read_json(folder / FAILURE)
    if failure is not None and state.name == WAITING:
        return State(FAILED, str(failure.get("line", "")), failed_s=float(failure.get("time_s", 0.0)))
    return state
