"""Move stale results aside: their folders are renamed, but not deleted and not while a process runs in them.

Several processes with the same output folder do this one after the other. Each folder is locked while it is renamed.
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
    """Rename the folders of stale runs and of runs that were made with a stale first stage, and print a line for each.

    Args:
        jobs: the runs, each after the runs that it needs.
        out: the output folder.
        inputs: the current CLIP models and data sets.
        patience_s: the longest time to wait for another process that moves stale results, in seconds.

    Raises:
        UserError: if another process moves stale results for longer than `patience_s`.
    """
    moved: set[str] = set()
    message = (
        f"--redo-stale: another process is moving stale results aside in {out}. Wait until that process is done and "
        "start this command again."
    )
    with lock.alone(out / ".lock", message, patience_s=patience_s):
        for job in jobs:  # the state of a test is read after its training was moved
            folder = out / job.folder
            is_outdated = job.first_stage is not None and job.first_stage.folder in moved and folder.is_dir()
            if not is_outdated and state.by_result(job, out, inputs).name != state.STALE:
                continue
            try:
                with run_folder.starting(folder), run_folder.hold(folder):
                    if not is_outdated and state.by_result(job, out, inputs).name != state.STALE:
                        print(f"{folder} is not moved aside, because the run has written a new result in the meantime.")
                        continue
                    aside = free_name(f"{folder}.stale-{time.strftime('%Y-%m-%d-%H-%M-%S')}")
                    folder.rename(aside)
            except lock.Busy:
                print(f"{folder} is not moved aside, because a process is running in this folder.")
            else:
                print(f"The stale result was moved to {aside}.")
                moved.add(job.folder)
