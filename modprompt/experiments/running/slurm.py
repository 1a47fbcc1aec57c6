"""Chains of runs on a Slurm cluster through submitit: arrays, a time limit, and requeueing after preemption or that
limit, which goes on at the unfinished run.

The runner may stop while jobs are queued or running; the next one takes them over.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt import places
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import command
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state
from modprompt.experiments.running.chains import Chains, bring_to_end, end, program
from modprompt.io import lock
from modprompt.io.files import write_json
from modprompt.io.records import read_json
from modprompt.io.result import IN_EXPERIMENT
from modprompt.programs import signals_here

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from modprompt.experiments.running.chains import Child

DEFAULTS = {"timeout_min": 240, "cpus_per_task": 8, "gpus_per_node": 1, "mem_gb": 32}
_ARRAY = 1000  # Slurm's default MaxArraySize is 1001
_REQUESTS = signals_here("SIGUSR1", "SIGUSR2")  # for the place of a job, to all its processes


class Work:
    """A chain of runs with their commands, as submitit calls it; ends when the cluster needs the place back."""

    def __init__(self, chain: Sequence[tuple[Job, Sequence[str]]], out: Path, data: Path):
        self.chain, self.out, self.data = chain, out, data
        self.child: Child | None = None

    def __call__(self) -> None:
        """Bring the runs to their ends, on the cores that the job has."""
        if threads := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ.setdefault("OMP_NUM_THREADS", threads)
        inputs, began = Inputs(self.out, self.data), time.time()
        for job, words in self.chain:
            if job.needs is None or state.of(job.needs, self.out, inputs).name == state.FINISHED:
                with contextlib.suppress(lock.Busy):
                    bring_to_end(job, words, self.out, inputs, began, functools.partial(self._run, words))

    def _run(self, words: Sequence[str], console: Path) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)  # the child leaves them to this process
        try:
            self.child = program(words, {**os.environ, "PYTHONUNBUFFERED": "1", IN_EXPERIMENT: "1"}, console)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while (code := self.child.poll()) is None:  # not wait(), in which checkpoint() could not ask
            time.sleep(0.1)
        return code

    def checkpoint(self) -> DelayedSubmission:
        """End the run after its last whole epoch; submitit, whose signal handler this is, queues the chain again."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None:
            end(self.child)
        return DelayedSubmission(Work(self.chain, self.out, self.data))


def queue() -> set[str] | None:
    """Ids of this user's jobs in the queue, array tasks one by one; None if Slurm does not answer."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        return set(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split())
    return None


class Queue:
    """Submits chains with submitit, at most `parallel` of an array at a time, and follows them.

    Its files go to `folder`, which all nodes must see; `settings` are its parameters of a job, where None and 0 leave
    one out.

    Raises:
        UserError: if there is no submitit or no Slurm here, or a parameter is unknown.
    """

    poll_s = 5.0
    patience_s = 60.0  # NFS shows another machine's file within that

    def __init__(self, folder: Path, settings: Mapping[str, Any], parallel: int | None):
        try:
            import submitit
        except ImportError:
            raise UserError("--launcher slurm needs submitit. Install it with `pip install submitit`.") from None
        given: dict[str, Any] = {
            key: value for key, value in settings.items() if value not in (None, 0) or value is False
        }
        given["slurm_additional_parameters"] = {"requeue": True, **given.get("slurm_additional_parameters", {})}
        limit = {"slurm_array_parallelism": parallel} if parallel else {}
        try:
            self.executor = submitit.AutoExecutor(folder=folder / "%j", cluster="slurm", slurm_max_num_timeout=100)
            self.executor.update_parameters(name=f"modprompt-{folder.name}", **{**limit, **given})
        except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
            why = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(f"--launcher slurm cannot be used (submitit: {why}).") from None

    def run(self, chains: Chains) -> None:
        """Submit the chains that are not in the queue yet, and wait until all have left it.

        Raises:
            KeyboardInterrupt: once chains.stop is set; the jobs stay in the queue.
            UserError: with sbatch's message, if it accepts none.
        """
        try:
            followed = self.submitted(chains)
            gone: dict[str, float] = {}
            while followed:
                queued = queue()
                for job_id in [job_id for job_id in followed if queued is not None and job_id not in queued]:
                    states = state.of_all(followed[job_id], chains.out, chains.inputs)
                    unfinished = {job.folder for job, stands in states if stands.name != state.FINISHED}
                    told = [each for each in states if not each[0].needs or each[0].needs.folder not in unfinished]
                    since = time.monotonic() - gone.setdefault(job_id, time.monotonic())
                    if since < self.patience_s and any(stands.name == state.WAITING for _, stands in told):
                        continue
                    for job, stands in told:
                        chains.tell(job, stands)
                    del followed[job_id]
                if followed and chains.stop.wait(self.poll_s):
                    raise KeyboardInterrupt
        finally:
            chains.screen.close()

    def submitted(self, chains: Chains) -> dict[str, list[Job]]:
        """The runs of all chains by the id of their job, which an earlier runner may have submitted; raises as run."""
        followed: dict[str, list[Job]] = {}
        queued, new = queue() or set(), []
        for root in chains.roots:
            job_id = submitted_as(chains.out / root.folder)
            if job_id is not None and job_id in queued:
                followed.setdefault(job_id, []).extend(chains.chain(root))
            else:
                new.append(chains.chain(root))
        for start in range(0, len(new), _ARRAY):
            array = new[start : start + _ARRAY]
            for job_id, chain in zip(self._submit(array, chains.out, chains.data), array):
                followed[job_id] = chain
                for job in chain:
                    write_json(chains.out / job.folder / state.QUEUED, {"cluster": "slurm", "job_id": job_id})
        return followed

    def _submit(self, array: Sequence[Sequence[Job]], out: Path, data: Path) -> list[str]:
        """Submit chains as one array; their ids. UserError if the cluster accepts none."""
        try:
            os.environ.update(places.environment())  # what is submitted imports this package
            with self.executor.batch():
                works = [Work([(job, command(job, out, data)) for job in chain], out, data) for chain in array]
                submitted = [self.executor.submit(work) for work in works]
            return [job.job_id for job in submitted]
        except Exception as error:
            why = " ".join(str(error).split())[-300:].rstrip(".")
            raise UserError(f"The Slurm cluster rejects the runs (submitit: {why}).") from None


def submitted_as(folder: Path) -> str | None:
    """The Slurm id under which a run was last submitted."""
    job_id = (read_json(folder / state.QUEUED) or {}).get("job_id")
    return job_id if isinstance(job_id, str) else None


def cancel(folders: Sequence[Path]) -> int:
    """Remove the chains of these runs from the queue; returns how many there were.

    Raises:
        UserError: if Slurm does not answer.
    """
    queued = queue()
    if queued is None:
        raise UserError("--cancel: no job was removed, because squeue did not respond. Try again later.")
    ids = sorted({job_id for job_id in map(submitted_as, folders) if job_id in queued})
    for start in range(0, len(ids), 100):
        subprocess.run(["scancel", *ids[start : start + 100]], check=False)
    return len(ids)
