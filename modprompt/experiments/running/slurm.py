"""Runs on a Slurm cluster through submitit: arrays, a time limit, and requeueing after preemption or that limit.

The runner may stop while runs are queued or running; the next one takes them over.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt import places
from modprompt.errors import UserError
from modprompt.experiments.running import state
from modprompt.experiments.running.worker import FAILED, Run, Task, stop
from modprompt.io.files import write_json
from modprompt.io.records import read_json

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

DEFAULTS = {"timeout_min": 240, "cpus_per_task": 8, "gpus_per_node": 1, "mem_gb": 32}
_ARRAY = 1000  # Slurm's default MaxArraySize is 1001


class Work:
    """A task as submitit calls it, and what to do when the cluster needs the place back."""

    def __init__(self, task: Task):
        self.task = task
        self.run: Run | None = None

    def __call__(self) -> int:
        """Run the task on the cores that it was given; returns how it ended."""
        threads = os.environ.get("SLURM_CPUS_PER_TASK")
        if threads:
            os.environ.setdefault("OMP_NUM_THREADS", threads)
        self.run = Run(self.task)
        return self.run.wait()

    def checkpoint(self) -> DelayedSubmission:
        """End the run after its last whole epoch; submitit puts it into the queue again."""
        from submitit.helpers import DelayedSubmission

        if self.run is not None:
            stop([self.run])
        return DelayedSubmission(Work(self.task))


def queue() -> set[str] | None:
    """Ids of this user's jobs in the queue, array tasks one by one; None if Slurm does not answer."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        return set(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split())
    return None


class Submitted:
    """A submitted run; `job` is submitit's, if this runner has submitted it."""

    def __init__(self, launcher: SubmitLauncher, job_id: str, job: Any = None):
        self.launcher, self.job_id, self.job = launcher, job_id, job

    def poll(self) -> int | None:
        """How it ended, FAILED if that is not known; None while it is waiting or running."""
        if self.launcher.has(self):
            return None
        with contextlib.suppress(Exception):  # an error was stored
            if self.job is not None and self.job.paths.result_pickle.exists():  # otherwise asking would wait for it
                return int(self.job.result())
        return FAILED


class SubmitLauncher:
    """Submits runs with submitit, at most `parallel` of an array at a time.

    Its files go to `folder`, which all nodes must see; `settings` are its parameters of a job, where None and 0 leave
    one out. `cluster` is "slurm", or "local" for its stand-in on this machine.

    Raises:
        UserError: if there is no submitit or no Slurm here, or a parameter is unknown.
    """

    stays = True
    patience_s = 60.0  # NFS shows another machine's file within that

    def __init__(self, folder: Path, settings: Mapping[str, Any], parallel: int | None, cluster: str = "slurm"):
        try:
            import submitit
        except ImportError:
            raise UserError("--launcher slurm needs submitit: pip install submitit") from None
        self.cluster, self.poll_s = cluster, 5.0 if cluster == "slurm" else 0.5
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster, slurm_max_num_timeout=100)
            limit = {"slurm_array_parallelism": parallel} if parallel else {}
            given: dict[str, Any] = {
                key: value for key, value in settings.items() if value not in (None, 0) or value is False
            }
            given["slurm_additional_parameters"] = {"requeue": True, **given.get("slurm_additional_parameters", {})}
            self.executor.update_parameters(name=f"modprompt-{folder.name}", **{**limit, **given})
        except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
            raise UserError(f"--launcher slurm: {' '.join(str(error).split())[:300]}") from None
        self.queued = queue() if cluster == "slurm" else None

    def free(self) -> int:
        """How many runs can be submitted: as many as an array holds. Asks the queue, once for all runs."""
        if self.cluster == "slurm":
            self.queued = queue()
        return _ARRAY

    def start(self, tasks: Sequence[Task]) -> list[Submitted]:
        """Submit tasks as one array.

        Raises:
            UserError: with sbatch's message, if it accepts none.
        """
        try:
            os.environ.update(places.environment())  # what is submitted imports this package
            with self.executor.batch():
                jobs = [self.executor.submit(Work(task)) for task in tasks]
            ids = [job.job_id for job in jobs]
        except Exception as error:
            raise UserError(f"the cluster accepts no runs: {' '.join(str(error).split())[-300:]}") from None
        for task, job_id in zip(tasks, ids):
            write_json(task.folder / state.QUEUED, {"cluster": self.cluster, "job_id": job_id})
        return [Submitted(self, job_id, job) for job_id, job in zip(ids, jobs)]

    def has(self, run: Submitted) -> bool:
        """Whether a run is waiting or running; assumed if Slurm does not answer."""
        if self.cluster != "slurm":
            return not run.job.done()
        return self.queued is None or run.job_id in self.queued

    def adopt(self, folder: Path) -> Submitted | None:
        """A run that an earlier runner submitted and that is still in the queue."""
        job_id = submitted_as(folder)
        return Submitted(self, job_id) if job_id and job_id in (self.queued or ()) else None

    def close(self) -> None:
        """Leave the runs in the queue."""


def submitted_as(folder: Path) -> str | None:
    """The Slurm id under which a run was last submitted."""
    queued = read_json(folder / state.QUEUED) or {}
    job_id = queued.get("job_id")
    return job_id if queued.get("cluster") == "slurm" and isinstance(job_id, str) else None


def cancel(folders: Sequence[Path]) -> int:
    """Remove the runs of these folders from the queue; returns how many there were.

    Raises:
        UserError: if Slurm does not answer.
    """
    there = queue()
    if there is None:
        raise UserError("--cancel: Slurm does not answer (squeue)")
    ids = [job_id for job_id in map(submitted_as, folders) if job_id in there]
    for start in range(0, len(ids), 100):
        subprocess.run(["scancel", *ids[start : start + 100]], check=False)
    return len(ids)
