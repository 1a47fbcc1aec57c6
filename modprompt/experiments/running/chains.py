"""Run chains of jobs on this machine: a first stage, its training, its tests, each after the runs that it needs.

The machine has slots: a GPU or a share of its memory, or a share of the cores. A thread for each slot follows chains
to their ends. Several processes may share an output folder: a run of another process is examined again later.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from modprompt import places
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import command
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import single_run, state, status
from modprompt.experiments.running.state import BLOCKED, FAILED, FINISHED, LABELS, STALE, WAITING, State
from modprompt.io import lock
from modprompt.io.result import GPU_SHARE, IN_EXPERIMENT, JOBS, ON_GPU
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from modprompt.experiments.running.single_run import Process

_SHARED = 0.9  # the fraction of a GPU's memory for runs that share it; PyTorch does not count all memory of a process


class Slot(NamedTuple):
    """The cores of one of several simultaneous runs, and environment variables that select its GPU or GPU share."""

    cores: tuple[int, ...]
    variables: Mapping[str, str] = {}


def usable_cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def usable_gpus() -> list[str]:
    """Return the names of the usable GPUs in CUDA_VISIBLE_DEVICES, or the numbers of all GPUs that nvidia-smi lists."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = [word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name not in ("", "-1")]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def make_slots(
    gpus: Sequence[str], cores: Sequence[int], jobs: int | None = None, per_gpu: int | None = None
) -> list[Slot]:
    """Return the slots of a machine with these GPUs and cores.

    Runs that share a GPU have equal shares of its memory, because the free memory decides the size of text chunks, and
    another size changes floating-point rounding.

    Args:
        gpus: the GPUs.
        cores: the cores.
        jobs: the number of slots; by default one for each GPU, or without a GPU one for each core up to four.
        per_gpu: the number of slots for each GPU, which limits `jobs`.

    Raises:
        UserError: if `per_gpu` is set and there is no GPU.
    """
    if per_gpu and not gpus:
        raise UserError(
            "--per-gpu needs a GPU, but neither CUDA_VISIBLE_DEVICES nor nvidia-smi lists a GPU. Remove --per-gpu."
        )
    most = len(gpus) * (per_gpu or 1) or min(len(cores), 4)
    n = min(jobs or most, most) if per_gpu else jobs or most
    bounds = [len(cores) * i // n for i in range(n + 1)]
    shares = [
        tuple(cores[low:high]) or (cores[i % len(cores)],) for i, (low, high) in enumerate(zip(bounds, bounds[1:]))
    ]
    if not gpus:
        return [Slot(share) for share in shares]
    on_gpu = -(-n // len(gpus))
    variables = {ON_GPU: str(on_gpu), **({GPU_SHARE: f"{_SHARED / on_gpu:.4f}"} if on_gpu > 1 else {})}
    return [Slot(share, {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **variables}) for i, share in enumerate(shares)]


class Chains:
    """The unfinished runs of an experiment in chains: each run comes after the run that it needs.

    Attributes:
        stop: an event that a signal handler sets to stop all runs; the next start resumes them.
        roots: the first runs of the chains.
        ended: the states of runs that have ended without a result, by folder.
    """

    def __init__(
        self, jobs: Sequence[Job], out: Path, data: Path, inputs: Inputs | None = None, one_line: bool = False
    ):
        self.jobs, self.out, self.data, self.inputs = list(jobs), out, data, inputs
        self.stop, self.started_s = threading.Event(), time.time()
        states = state.of_all(self.jobs, out, inputs)
        self._finished = {job.folder for job, run_state in states if run_state.name == FINISHED}
        self._successors: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.needs is not None:
                self._successors.setdefault(job.needs.folder, []).append(job)
        self.roots = [
            job
            for job, run_state in states
            if run_state.name not in (FINISHED, STALE, LABELS)
            and (job.needs is None or job.needs.folder in self._finished)
        ]
        self.ended: dict[str, State] = {}
        self.screen = status.Screen(len(self.jobs), len(self._finished), one_line)
        self._reporting = threading.Lock()
        self._running: dict[str, Job] = {}
        self._start: Callable[..., Process] = single_run.start_program
        self._futures: list[Future[None]] = []

    def chain(self, job: Job) -> list[Job]:
        """Return a run and all runs that need it, in order."""
        return [job, *(later for next_job in self._successors.get(job.folder, ()) for later in self.chain(next_job))]

    def report_end(self, job: Job, run_state: State) -> None:
        """Show the state in which a run has ended."""
        with self._reporting:
            if run_state.name == FINISHED and job.folder not in self._finished:
                self._finished.add(job.folder)
                accuracy = run_state.accuracy_pct
                outcome = "no test images" if accuracy is None else f"{accuracy:.2f}%"
                self.screen.finished(len(self._finished), job.title, outcome)
            elif run_state.name != FINISHED:
                if run_state.name == WAITING:
                    line = one_line(state.last_line(self.out / job.folder / state.CONSOLE))
                    why = run_state.why or single_run.with_last_line("the process was stopped", line)
                    run_state = State(FAILED, why)
                self.ended[job.folder] = run_state
                self.screen.event(state.describe(job.title, run_state.name, run_state.why))

    def run(self, slots: Sequence[Slot], no_fork: bool = False) -> None:
        """Run all chains on this machine.

        Args:
            slots: the slots of the machine.
            no_fork: whether each run is started as a new program, and not as a fork of a process with loaded packages.

        Raises:
            KeyboardInterrupt: if `stop` was set; the runs have ended by then.
        """
        if not no_fork and sys.platform != "darwin":  # forks are not safe on macOS
            from modprompt.experiments.running.forked import start_forked  # the module does not exist on Windows

            self._start = start_forked
        self._slots: SimpleQueue[Slot] = SimpleQueue()
        for slot in slots:
            self._slots.put(slot)
        self._pool = ThreadPoolExecutor(len(slots))
        before = dict(os.environ)
        # the server of forked runs reads OMP_NUM_THREADS when it starts, and the number affects floating-point rounding
        os.environ.setdefault("OMP_NUM_THREADS", str(min(len(slot.cores) for slot in slots)))
        os.environ.update({**places.environment(), "PYTHONUNBUFFERED": "1", IN_EXPERIMENT: "1", JOBS: str(len(slots))})
        try:
            for job in self.roots:
                self._submit(job)
            while self._futures:
                for future in [future for future in self._futures if future.done()]:
                    self._futures.remove(future)
                    future.result()
                if self.screen.live:
                    running = list(self._running.values())
                    self.screen.show([f"{job.title}: {status.of_run(self.out / job.folder)}" for job in running])
                if self._futures and self.stop.wait(0.1):
                    raise KeyboardInterrupt
        finally:
            self.stop.set()
            self._pool.shutdown(cancel_futures=True)
            self.screen.close()
            os.environ.clear()
            os.environ.update(before)

    def _submit(self, job: Job) -> None:
        self._futures.append(self._pool.submit(self._follow, job))

    def _follow(self, job: Job) -> None:
        """Run a job and one chain of its successors, and submit the other successors, or a job that is busy, again."""
        while not self.stop.is_set():
            try:
                words = command(job, self.out, self.data)
                run = functools.partial(self._run, job, words)
                run_state = single_run.complete(job, words, self.out, self.inputs, self.started_s, run)
            except lock.Busy:
                self.stop.wait(0.2)
                self._submit(job)
                return
            except (UserError, OSError) as error:
                run_state = State(FAILED, one_line(str(error)))
            if self.stop.is_set():
                return
            self.report_end(job, run_state)
            successors = self._successors.get(job.folder, ()) if run_state.name == FINISHED else ()
            for successor in successors[1:]:
                self._submit(successor)
            if not successors:
                return
            job = successors[0]

    def _run(self, job: Job, words: Sequence[str], console: Path) -> int:
        """Run the command of a job in a free slot, and return its exit code."""
        slot = self._slots.get()
        self._running[job.folder] = job
        try:
            process = self._start(words, {**os.environ, **slot.variables}, console, slot.cores)
            while (code := process.poll()) is None:
                if self.stop.wait(0.05):
                    single_run.stop(process)
            return code
        finally:
            del self._running[job.folder]
            self._slots.put(slot)

    def outcome(self, states: Sequence[tuple[Job, State]]) -> list[tuple[Job, State]]:
        """Return the state of each run after `run`; a run that needs an unfinished run is BLOCKED.

        Args:
            states: the states of all runs, from the files in their folders.
        """
        known: dict[str, State] = {}
        for job, run_state in states:
            if run_state.name == WAITING:
                run_state = self.ended.get(job.folder, run_state)
                if job.needs is not None and (needed := known[job.needs.folder]).name != FINISHED:
                    why = f" ({needed.why})" if needed.why else ""
                    run_state = State(BLOCKED, f"the run needs {job.needs.title}, which has not finished{why}")
            known[job.folder] = run_state
        return [(job, known[job.folder]) for job, _ in states]
