"""What a training is told of its first stage: the schedules that a search leaves, the folder of trained prompts."""

from __future__ import annotations

from pathlib import Path

from modprompt.experiments.plan.job import Job
from modprompt.methods.table import BY_NAME
from modprompt.runs import schedule_file

BEHIND = "BEHIND"  # the setting of a head that names trained prompts
OF_SCHEDULE = (
    "SCHEDULE_",
    "LENGTHS_",
    "IMG_ALPHA_PATH",
    "TXT_ALPHA_PATH",
)  # how keys begin that say what a search finds


def file_of(search: Job, out: Path) -> Path:
    """What a search leaves."""
    return out / search.folder / schedule_file.FILE_NAME


def options_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The settings, (key, text) pairs, by which a job takes what its first stage leaves; none without one."""
    if job.first is None:
        return ()
    row = BY_NAME[job.method.trainer]
    if job.first.is_front:
        return ((f"{row.node}.{BEHIND}", str(out / job.first.folder)),)
    return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{file_of(job.first, out)}") for side in row.sides)
