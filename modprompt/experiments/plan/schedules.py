"""What a training is told of its search: the file of schedules that the search leaves."""

from __future__ import annotations

from pathlib import Path

from modprompt.experiments.plan.job import Job
from modprompt.methods.table import BY_NAME
from modprompt.runs import schedule_file

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
    """The settings, (key, text) pairs, by which a job takes the schedules of its search; none without a search."""
    if job.search is None:
        return ()
    row = BY_NAME[job.method.trainer]
    return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{file_of(job.search, out)}") for side in row.sides)
