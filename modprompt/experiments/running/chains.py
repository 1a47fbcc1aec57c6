"""Chains of runs on this machine: a first stage, its training, its tests, each when what it needs is finished.

Every place of the machine (a GPU, a share of the cores) has a thread that follows chains to their ends. Several runners
may share an output folder: a run that another process has is looked at again later.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from modprompt.active.picks_file import asked
from modprompt.errors import UserError, WaitsForLabels
from modprompt.experiments.plan.commands import command
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state, status
from modprompt.experiments.running.state import BLOCKED, FAILED, FINISHED, LABELS, RUNNING, STALE, WAITING, State
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.files import free_name, write_json
from modprompt.io.result import GPU_SHARE, IN_EXPERIMENT, JOBS, ON_GPU
from modprompt.io.text import one_line
from modprompt.places import environment as of_package
from modprompt.programs import signals_here

if TYPE_CHECKING:
    from modprompt.experiments.running.forked import Forked

    Child: TypeAlias = Forked | subprocess.Popen[bytes]

_SHARED = 0.9  # of a GPU's memory, for runs that share it: each process uses some that PyTorch does not count
_STOPPED = (130, *(-number for number in signals_here("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")))
_STATES = threading.Lock()  # readers draw few-shot lists with Python's global random numbers


class Place(NamedTuple):
    """A place for one run: its cores, and the variables that give it a GPU, or a share of one."""

    cores: tuple[int, ...]
    variables: Mapping[str, str] = {}


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; none if nvidia-smi finds none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = [word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name not in ("", "-1")]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def places(
    cards: Sequence[str], cores: Sequence[int], jobs: int | None = None, per_gpu: int | None = None
) -> list[Place]:
    """The places of a machine with these GPUs and cores.

    `jobs` of them, or `per_gpu` (1) on each GPU, or without one a place per core up to four. `per_gpu` is a limit for
    `jobs`; without it, more jobs than GPUs share them. Shares are equal everywhere: they decide how sums are rounded.

    Raises:
        UserError: if `per_gpu` is given and there is no GPU.
    """
    if per_gpu and not cards:
        raise UserError(
            "--per-gpu needs a GPU, but neither CUDA_VISIBLE_DEVICES nor nvidia-smi lists a GPU. Remove --per-gpu."
        )
    most = len(cards) * (per_gpu or 1) or min(len(cores), 4)
    n = min(jobs or most, most) if per_gpu else jobs or most
    bounds = [len(cores) * i // n for i in range(n + 1)]
    shares = [
        tuple(cores[low:high]) or (cores[i % len(cores)],) for i, (low, high) in enumerate(zip(bounds, bounds[1:]))
    ]
    if not cards:
        return [Place(share) for share in shares]
    on_gpu = -(-n // len(cards))
    told = {ON_GPU: str(on_gpu), **({GPU_SHARE: f"{_SHARED / on_gpu:.4f}"} if on_gpu > 1 else {})}
    return [Place(share, {"CUDA_VISIBLE_DEVICES": cards[i % len(cards)], **told}) for i, share in enumerate(shares)]


def program(
    words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a command as its own program; with cores, on these, and in a session that Ctrl-C does not reach."""
    with console.open("ab") as file:
        child = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=bool(cores),
        )
    if cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child.pid, cores)
    return child


def end(child: Child, grace_s: float = 10.0) -> None:
    """End a run with all of its session: asked first, killed after a while. What it saved after an epoch stays."""
    pid = child.pid
    assert pid is not None  # it was started
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):  # a killed one takes a moment
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, number)
        limit = time.monotonic() + wait_s
        while child.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)


def bring_to_end(
    job: Job, words: Sequence[str], out: Path, inputs: Inputs | None, began: float, run: Callable[[Path], int]
) -> State:
    """Run a job unless it is finished, stale, lacks labels or has failed since; how it stands then.

    A run that fails leaves job/failure.json with its last line. One that was asked to stop leaves nothing: it resumes
    with the next start. Nor does one that waits for labels: it has said itself what is missing.

    Args:
        job: the run.
        words: its command.
        out: output folder.
        inputs: what results are compared with, besides settings.
        began: failures before this time (Unix) are tried again.
        run: runs the command, with all its output going to a file; returns the exit code.

    Raises:
        lock.Busy: if another process has the run, or a child outlives the server that forked it.
        UserError, OSError: if its folder cannot be written.
    """
    folder = out / job.folder

    def to_do(stands: State) -> bool:
        return stands.name in (WAITING, FAILED) and stands.failed_s <= began

    with _STATES:
        stands = state.of(job, out, inputs)
    if stands.name == RUNNING:
        raise lock.Busy(f"Another process is running in {folder}.")
    if not to_do(stands):
        return stands
    with run_folder.starting(folder) as held:
        with _STATES:
            stands = state.at_rest(job, out, inputs)
        if not to_do(stands):  # another runner was faster
            return stands
        (folder / state.FAILURE).unlink(missing_ok=True)
        _put_old_log_aside(folder)
        console = folder / state.CONSOLE
        console.unlink(missing_ok=True)  # a link or a pipe, too, as a foreign tree may have
        console.touch()
        code = run(console)
        stands = state.by_result(job, out)
        if not (held.is_there() and stands.name == FINISHED) and run_folder.is_held(folder, (run_folder.LOCK,)):
            raise lock.Busy(f"Another process is running in {folder}.")
        why = _failure(stands, folder, code) if held.is_there() else f"the output folder {run_folder.GONE}"
        if why is not None:
            facts = {"line": why, "exit": code, "host": socket.gethostname(), "time_s": time.time()}
            write_json(folder / state.FAILURE, {**facts, "command": list(words)})
        with _STATES:
            return state.at_rest(job, out, inputs)


def _put_old_log_aside(folder: Path) -> None:
    """Name an earlier start's log.txt after its time, so that log.txt is the newest: parsers read only that."""
    log = folder / "log.txt"
    with contextlib.suppress(FileNotFoundError):
        stamp = time.strftime("-%Y-%m-%d-%H-%M-%S", time.localtime(log.stat().st_mtime))
        log.rename(free_name(f"{log}{stamp}"))


def _failure(stands: State, folder: Path, code: int) -> str | None:
    """Why a run failed that ended with an exit code and stands so by its result; None if it did not."""
    waits = code == WaitsForLabels.exit_code and asked(folder) is not None
    if stands.name == FINISHED or waits or code in _STOPPED:
        return None
    line = state.last_line(folder / state.CONSOLE)
    if code > 0:
        return line
    if code < 0:
        name = signal.Signals(-code).name
        memory = " (possibly because the machine had no free memory)" if name == "SIGKILL" else ""
        return _with_output(f"{name} ended the process{memory}", line)
    return _with_output(stands.why or "the process ended without a result", line)


def _with_output(why: str, line: str) -> str:
    """Return the reason why a run ended, with the last line that the run printed."""
    return f"{why}. The last output was: {line}" if line else f"{why}. The run printed no output"


class Chains:
    """The runs of an experiment that are not finished, each behind what it needs.

    stop: set by a signal handler: runs are ended; their files are whole, and the next runner resumes them.
    roots: the first runs of the chains.
    ended: how runs ended that are not finished, by folder.
    """

    def __init__(
        self, jobs: Sequence[Job], out: Path, data: Path, inputs: Inputs | None = None, one_line: bool = False
    ):
        self.jobs, self.out, self.data, self.inputs = list(jobs), out, data, inputs
        self.stop, self.began = threading.Event(), time.time()
        states = state.of_all(self.jobs, out, inputs)
        self._finished = {job.folder for job, stands in states if stands.name == FINISHED}
        self._behind: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.needs is not None:
                self._behind.setdefault(job.needs.folder, []).append(job)
        self.roots = [
            job
            for job, stands in states
            if stands.name not in (FINISHED, STALE, LABELS)
            and (job.needs is None or job.needs.folder in self._finished)
        ]
        self.ended: dict[str, State] = {}
        self.screen = status.Screen(len(self.jobs), len(self._finished), one_line)
        self._telling = threading.Lock()
        self._running: dict[str, Job] = {}
        self._start: Callable[..., Child] = program
        self._futures: list[Future[None]] = []

    def chain(self, job: Job) -> list[Job]:
        """A run and all that comes behind it, in order."""
        return [job, *(later for child in self._behind.get(job.folder, ()) for later in self.chain(child))]

    def tell(self, job: Job, stands: State) -> None:
        """Show how a run has ended."""
        with self._telling:
            if stands.name == FINISHED and job.folder not in self._finished:
                self._finished.add(job.folder)
                accuracy = stands.accuracy_pct
                came = "no test images" if accuracy is None else f"{accuracy:.2f}%"
                self.screen.finished(len(self._finished), job.title, came)
            elif stands.name != FINISHED:
                if stands.name == WAITING:
                    said = one_line(state.last_line(self.out / job.folder / state.CONSOLE))
                    stands = State(FAILED, stands.why or _with_output("the process was stopped", said))
                self.ended[job.folder] = stands
                self.screen.event(state.describe(job.title, stands.name, stands.why))

    def run(self, here: Sequence[Place], no_fork: bool = False) -> None:
        """Run all chains in the places of this machine.

        Args:
            here: the places.
            no_fork: whether each run is started as a new program, and not as a fork of a process with loaded packages.

        Raises:
            KeyboardInterrupt: if `stop` was set; the runs have ended by then.
        """
        if not no_fork and sys.platform != "darwin":  # which has no safe fork
            from modprompt.experiments.running.forked import forked  # late: Windows has none

            self._start = forked
        self._places: SimpleQueue[Place] = SimpleQueue()
        for place in here:
            self._places.put(place)
        self._pool = ThreadPoolExecutor(len(here))
        before = dict(os.environ)  # of the server of forked runs, too: it reads OMP_NUM_THREADS when it starts
        os.environ.setdefault("OMP_NUM_THREADS", str(min(len(place.cores) for place in here)))  # decides roundings
        os.environ.update({**of_package(), "PYTHONUNBUFFERED": "1", IN_EXPERIMENT: "1", JOBS: str(len(here))})
        try:
            for job in self.roots:
                self._submit(job)
            while self._futures:
                for future in [future for future in self._futures if future.done()]:
                    self._futures.remove(future)
                    future.result()
                if self.screen.live:
                    at_work = list(self._running.values())
                    self.screen.show([f"{job.title}: {status.of_run(self.out / job.folder)}" for job in at_work])
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
        """Run a job and one chain behind it; others follow when a place is free, as does a job that another one has."""
        while not self.stop.is_set():
            try:
                words = command(job, self.out, self.data)
                run = functools.partial(self._run, job, words)
                stands = bring_to_end(job, words, self.out, self.inputs, self.began, run)
            except lock.Busy:
                self.stop.wait(0.2)
                self._submit(job)
                return
            except (UserError, OSError) as error:
                stands = State(FAILED, one_line(str(error)))
            if self.stop.is_set():
                return
            self.tell(job, stands)
            behind = self._behind.get(job.folder, ()) if stands.name == FINISHED else ()
            for later in behind[1:]:
                self._submit(later)
            if not behind:
                return
            job = behind[0]

    def _run(self, job: Job, words: Sequence[str], console: Path) -> int:
        """Run a job's command in a free place; its exit code."""
        place = self._places.get()
        self._running[job.folder] = job
        try:
            child = self._start(words, {**os.environ, **place.variables}, console, place.cores)
            while (code := child.poll()) is None:
                if self.stop.wait(0.05):
                    end(child)
            return code
        finally:
            del self._running[job.folder]
            self._places.put(place)

    def outcome(self, states: Sequence[tuple[Job, State]]) -> list[tuple[Job, State]]:
        """How all runs stand, by their states and how they ended here; BLOCKED behind one that is not finished."""
        known: dict[str, State] = {}
        for job, stands in states:
            if stands.name == WAITING:
                stands = self.ended.get(job.folder, stands)
                if job.needs is not None and (needed := known[job.needs.folder]).name != FINISHED:
                    why = f" ({needed.why})" if needed.why else ""
                    stands = State(BLOCKED, f"the run needs {job.needs.title}, which has not finished{why}")
            known[job.folder] = stands
        return [(job, known[job.folder]) for job, _ in states]
