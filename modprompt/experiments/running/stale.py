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


def put_aside(jobs: Sequence[Job], out: Path, inputs: Inputs, patience_s: float = 300.0) -> None:
    """Rename the folders of runs, each after its training, that are stale; prints a line for each.

    Raises:
        UserError: if another runner does the same for longer than `patience_s`.
    """
    gone: set[str] = set()  # what was made from a stage that was put aside goes too
    taken = (
        f"--redo-stale: another process is moving stale results aside in {out}. Wait until that process is done and "
        "start this command again."
    )
    with lock.alone(out / ".lock", taken, patience_s=patience_s):
        for job in jobs:  # one after the other: a test is looked at after its training was put aside
            folder = out / job.folder
            of_gone = job.first is not None and job.first.folder in gone and folder.is_dir()
            if not of_gone and state.by_result(job, out, inputs).name != state.STALE:
                continue
            try:
                with run_folder.starting(folder), run_folder.hold(folder):
                    if not of_gone and state.by_result(job, out, inputs).name != state.STALE:
                        print(f"{folder} is not moved aside, because the run has written a new result in the meantime.")
                        continue
                    aside = free_name(f"{folder}.stale-{time.strftime('%Y-%m-%d-%H-%M-%S')}")
                    folder.rename(aside)
            except lock.Busy:
                print(f"{folder} is not moved aside, because a process is running in this folder.")
            else:
                print(f"The stale result was moved to {aside}.")
                gone.add(job.folder)
