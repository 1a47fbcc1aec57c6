"""Run chains of runs as jobs of a Slurm cluster, with submitit.

Each chain is a task of a job array. A job that is preempted or reaches its time limit is queued again and resumes with
the unfinished run. A second start does not submit chains whose jobs are still in the queue.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt import places
from modprompt.checks import counted
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import command
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import single_run, state
from modprompt.experiments.running.chains import Chains
from modprompt.io import lock
from modprompt.io.files import write_json
from modprompt.io.records import read_json
from modprompt.io.result import IN_EXPERIMENT
from modprompt.programs import signals_here

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from modprompt.experiments.running.single_run import Process

DEFAULTS = {"timeout_min": 240, "cpus_per_task": 8, "gpus_per_node": 1, "mem_gb": 32}
_ARRAY = 1000  # Slurm's default MaxArraySize is 1001
_REQUESTS = signals_here("SIGUSR1", "SIGUSR2")  # for the place of a job, to all its processes


class Work:
    """A chain of runs with their commands, which submitit calls in a job and which stops if the cluster asks."""

    def __init__(self, chain: Sequence[tuple[Job, Sequence[str]]], out: Path, data: Path):
        self.chain, self.out, self.data = chain, out, data
        self.process: Process | None = None

    def __call__(self) -> None:
        """Run all runs of the chain on the cores of the job."""
        if threads := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ.setdefault("OMP_NUM_THREADS", threads)
        inputs, started_s = Inputs(self.out, self.data), time.time()
        for job, words in self.chain:
            if job.needs is None or state.of(job.needs, self.out, inputs).name == state.FINISHED:
                with contextlib.suppress(lock.Busy):
                    single_run.complete(job, words, self.out, inputs, started_s, functools.partial(self._run, words))

    def _run(self, words: Sequence[str], console: Path) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)  # the run leaves these signals to this process
        try:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1", IN_EXPERIMENT: "1"}
            self.process = single_run.start_program(words, environment, console)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while (code := self.process.poll()) is None:  # during wait\(\), checkpoint\(\) could not examine the process
            time.sleep(0.1)
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Stop the run, which keeps its last complete epoch; submitit calls this on a signal and requeues the chain."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            single_run.stop(self.process)
        return DelayedSubmission(Work(self.chain, self.out, self.data))


def queue() -> set[str] | None:
    """Return the ids of the jobs of this user in the queue, with each array task; None if squeue does not respond."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        return set(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split())
    return None


class Queue:
    """The queue of the cluster.

    Args:
        folder: the folder of the files of submitit, which all nodes must see.
        settings: the parameters of the jobs; values of None and 0 are left out.
        parallel: the number of tasks of an array that may run at the same time; None for no limit.

    Raises:
        UserError: if submitit or Slurm is missing, or a parameter is unknown.
    """

    poll_s = 5.0
    patience_s = 60.0  # within this time, NFS shows the files of another machine

    def __init__(self, folder: Path, settings: Mapping[str, Any], parallel: int | None):
        try:
            import submitit
        except ImportError:
            raise UserError("--launcher slurm needs submitit. Install it with `pip install submitit`.") from None
        parameters: dict[str, Any] = {
            key: value for key, value in settings.items() if value not in (None, 0) or value is False
        }
        additional = parameters.get("slurm_additional_parameters", {})
        parameters["slurm_additional_parameters"] = {"requeue": True, **additional}
        limit = {"slurm_array_parallelism": parallel} if parallel else {}
        try:
            self.executor = submitit.AutoExecutor(folder=folder / "%j", cluster="slurm", slurm_max_num_timeout=100)
            self.executor.update_parameters(name=f"modprompt-{folder.name}", **{**limit, **parameters})
        except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
            why = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(f"--launcher slurm cannot be used (submitit: {why}).") from None

    def run(self, chains: Chains) -> set[str]:
        """Submit the chains that are not in the queue yet, and wait until their jobs have left the queue.

        Returns:
            The folders of the runs whose chains were already in the queue.

        Raises:
            KeyboardInterrupt: if chains.stop is set; the jobs stay in the queue.
            UserError: if squeue does not respond, or with the message of sbatch if the cluster rejects the jobs.
        """
        try:
            followed, queued_before = self.submit(chains)
            gone: dict[str, float] = {}
            while followed:
                queued = queue()
                for job_id in [job_id for job_id in followed if queued is not None and job_id not in queued]:
                    states = state.of_all(followed[job_id], chains.out, chains.inputs)
                    unfinished = {job.folder for job, run_state in states if run_state.name != state.FINISHED}
                    ended = [
                        (job, run_state)
                        for job, run_state in states
                        if job.needs is None or job.needs.folder not in unfinished
                    ]
                    since = time.monotonic() - gone.setdefault(job_id, time.monotonic())
                    if since < self.patience_s and any(run_state.name == state.WAITING for _, run_state in ended):
                        continue
                    for job, run_state in ended:
                        chains.report_end(job, run_state)
                    del followed[job_id]
                if followed and chains.stop.wait(self.poll_s):
                    raise KeyboardInterrupt
            return queued_before
        finally:
            chains.screen.close()

    def submit(self, chains: Chains) -> tuple[dict[str, list[Job]], set[str]]:
        """Submit the chains whose recorded jobs are not in the queue.

        Returns:
            The runs of each submitted job by its id, and the folders of the runs that were already in the queue.

        Raises:
            UserError: if squeue does not respond, or if the cluster rejects the jobs.
        """
        queued = queue()
        if queued is None:
            raise UserError("--launcher slurm: no run was submitted, because squeue did not respond. Try again later.")
        recorded = {root.folder: submitted_as(chains.out / root.folder) for root in chains.roots}
        waiting = [root for root in chains.roots if recorded[root.folder] in queued]
        if waiting:
            ids = sorted({str(recorded[root.folder]) for root in waiting})
            print(
                f"{counted(len(waiting), 'chain')} of runs {'is' if len(waiting) == 1 else 'are'} already in the Slurm "
                f"queue and not submitted again (jobs {', '.join(ids)}). Use `modprompt experiment status` to see the "
                "progress, or --cancel to remove the jobs.",
                file=sys.stderr,
            )
        new = [chains.chain(root) for root in chains.roots if root not in waiting]
        followed: dict[str, list[Job]] = {}
        for start in range(0, len(new), _ARRAY):
            array = new[start : start + _ARRAY]
            for job_id, chain in zip(self._submit(array, chains.out, chains.data), array):
                followed[job_id] = chain
                for job in chain:
                    write_json(chains.out / job.folder / state.QUEUED, {"cluster": "slurm", "job_id": job_id})
        return followed, {job.folder for root in waiting for job in chains.chain(root)}

    def _submit(self, array: Sequence[Sequence[Job]], out: Path, data: Path) -> list[str]:
        """Submit chains as one array, and return the ids of their jobs; UserError if the cluster rejects them."""
        try:
            os.environ.update(places.environment())  # the jobs import this package
            with self.executor.batch():
                works = [Work([(job, command(job, out, data)) for job in chain], out, data) for chain in array]
                submitted = [self.executor.submit(work) for work in works]
            return [job.job_id for job in submitted]
        except Exception as error:
            why = " ".join(str(error).split())[-300:].rstrip(".")
            raise UserError(f"The Slurm cluster rejects the runs (submitit: {why}).") from None


def submitted_as(folder: Path) -> str | None:
    """Return the id of the Slurm job with which a run was last submitted, or None."""
    job_id = (read_json(folder / state.QUEUED) or {}).get("job_id")
    return job_id if isinstance(job_id, str) else None


def cancel(folders: Sequence[Path]) -> int:
    """Remove the chains of runs from the queue, and return the number of removed jobs.

    Raises:
        UserError: if squeue does not respond.
    """
    queued = queue()
    if queued is None:
        raise UserError("--cancel: no job was removed, because squeue did not respond. Try again later.")
    ids = sorted({job_id for job_id in map(submitted_as, folders) if job_id in queued})
    for start in range(0, len(ids), 100):
        subprocess.run(["scancel", *ids[start : start + 100]], check=False)
    return len(ids)
