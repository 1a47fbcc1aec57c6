"""Putting results made with other settings aside: renamed, never deleted, and never under a running run.

Runners on one output folder do it one after the other, each folder under its run's own lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.files import free_name

PATIENCE_S = 300.0


def put_aside(jobs: Sequence[Job], out: Path, inputs: Inputs, patience_s: float = PATIENCE_S) -> None:
    """Rename the folders of runs whose results were made with other settings; prints a line for each.

    Args:
        jobs: the runs, each after its search and training.
        out: the output folder.
        inputs: what results are compared with.
        patience_s: how long to wait for another runner that does the same.

    Raises:
        UserError: if that is not done by then.
    """
    firsts: set[str] = set()  # stages that were put aside: what was made from them goes too
    taken = f"--redo-stale: another runner is putting results aside in {out}: start again when it is done"
    with lock.alone(out / ".lock", taken, patience_s=patience_s):  # where there are no locks, the runner has warned
        stages = {job.first.folder for job in jobs if job.first is not None}
        for job in jobs:  # one after the other: a test is looked at after its training was put aside
            folder = out / job.folder
            by_stale = job.first is not None and job.first.folder in firsts
            if (by_stale and folder.is_dir()) or state.by_result(job, out, inputs).name == state.STALE:
                said = _rename(job, out, inputs, by_stale)
                print(said)
                firsts.update([job.folder] if job.folder in stages and said.startswith(_DONE) else [])


_DONE = "put aside: "


def _rename(job: Job, out: Path, inputs: Inputs, by_stale: bool) -> str:
    """The outcome, as a line."""
    folder = out / job.folder
    try:
        with run_folder.starting(folder), run_folder.hold(folder):
            if not by_stale and state.by_result(job, out, inputs).name != state.STALE:
                return f"not put aside, it has a new result by now: {folder}"
            aside = free_name(f"{folder}.stale-{time.strftime('%Y-%m-%d-%H-%M-%S')}")
            folder.rename(aside)
            return f"{_DONE}{aside}"
    except lock.Busy:
        return f"not put aside, a run is running there: {folder}"
    except FileNotFoundError:
        return f"not put aside, it is gone: {folder}"
