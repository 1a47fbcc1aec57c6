"""What a training is told of its first stage: the schedules that a search leaves, the folder of trained prompts."""

from __future__ import annotations

from pathlib import Path

from modprompt.experiments.plan.job import Job
from modprompt.methods.search import file as schedule_file
from modprompt.methods.table import BY_NAME

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


def front_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The setting by which a head takes the prompts that its first stage trains; none without such a stage."""
    if job.first is None or not job.first.is_front:
        return ()
    return ((f"{BY_NAME[job.method.trainer].node}.{BEHIND}", str(out / job.first.folder)),)


def options_of(job: Job, out: Path) -> tuple[tuple[str, str], ...]:
    """The settings, (key, text) pairs, by which a job takes what its first stage leaves; none without one."""
    if job.first is None or job.first.is_front:
        return front_of(job, out)
    row = BY_NAME[job.method.trainer]
    return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{file_of(job.first, out)}") for side in row.sides)
