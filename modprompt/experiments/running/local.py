"""Runs on this machine: one or more per GPU, or some at once on the CPU, each pinned to its share of the cores.

A place has a worker process, which runs one task after the other. Places on one GPU share its memory: a run is told its
share, and has the GPU to itself until runs of its kind are known to fit into a share.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from modprompt import places
from modprompt.errors import UserError
from modprompt.experiments.running.service import WorkerProcess
from modprompt.experiments.running.worker import Task
from modprompt.io.result import JOBS

_SHARED = 0.9  # of a GPU's memory, for runs that share it: each process uses some that PyTorch does not count


class Slot(NamedTuple):
    """A place for one run.

    cores: its cores.
    gpu: its GPU, as in CUDA_VISIBLE_DEVICES; empty if it has none.
    on_gpu: how many places the GPU has.
    """

    cores: tuple[int, ...]
    gpu: str = ""
    on_gpu: int = 1

    @property
    def gpu_share(self) -> float:
        """The share of its GPU's memory that a run may use here."""
        return 1.0 if self.on_gpu == 1 else _SHARED / self.on_gpu


def shares(cores: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """The cores in `n` shares, as even as possible; with more shares than cores, some share a core."""
    if n >= len(cores):
        return [(cores[i % len(cores)],) for i in range(n)]
    bounds = [len(cores) * i // n for i in range(n + 1)]
    return [tuple(cores[low:high]) for low, high in zip(bounds, bounds[1:])]


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; none if nvidia-smi finds none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [
            word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if word.strip() not in ("", "-1")
        ]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def slots(jobs: int | None, found: Sequence[str], cores: Sequence[int], per_gpu: int | None = None) -> list[Slot]:
    """The places of this machine, all with an equal share of a GPU.

    Args:
        jobs: how many; more than GPUs share them. Without it `per_gpu` of each GPU, or on the CPU one per core up to
            four.
        found: its GPUs.
        cores: its cores.
        per_gpu: how many on a GPU at most; without it one, or as many as `jobs` need.

    Raises:
        UserError: if there is no GPU, and `per_gpu` is given.
    """
    if not found:
        if per_gpu:
            raise UserError("--per-gpu: there is no GPU here (CUDA_VISIBLE_DEVICES, nvidia-smi): leave it out")
        return [Slot(share) for share in shares(cores, jobs or min(len(cores), 4))]
    most = len(found) * (per_gpu or 1)
    n = most if jobs is None else min(jobs, most) if per_gpu else jobs
    on_gpu = -(-n // len(found))  # the same everywhere: a share decides how sums are rounded, a place must not
    return [Slot(share, found[i % len(found)], on_gpu) for i, share in enumerate(shares(cores, n))]


def _needs_to_be_alone(task: Task, place: Slot) -> bool:
    """Whether runs of a task's kind are not known to fit into the share of a GPU that a place has."""
    return place.on_gpu > 1 and (task.gpu_need is None or task.gpu_need > place.gpu_share)


def _told(task: Task, place: Slot, alone: bool) -> Task:
    """A task with what it is told about its place's GPU; the first of its kind is limited to the others' share."""
    if not place.gpu:
        return task
    is_first = task.gpu_need is None
    return task._replace(
        gpu_share=1.0 if alone and not is_first else place.gpu_share, on_gpu=1 if alone else place.on_gpu
    )


class LocalHandle:
    """A task that a worker process was asked to run.

    Args:
        worker: the process.
        place: the number of its place.
        alone: whether nothing else may run on its GPU.
    """

    def __init__(self, worker: WorkerProcess, place: int, alone: bool = False):
        self.worker, self.place, self.alone = worker, place, alone
        self.code: int | None = None

    def alive(self) -> bool:
        """Whether the worker is still running it."""
        if self.code is None:
            self.code = self.worker.answer()
        return self.code is None


class LocalLauncher:
    """Has worker processes of this machine run tasks.

    Args:
        places: what they may use.
        cold: whether every run is its own program, which imports all it needs.
        out: the output folder, which workers name in their command lines, for those who list processes.
    """

    poll_s = 0.25
    patience_s = 0.0
    stays = False

    def __init__(self, places: Sequence[Slot], cold: bool = False, out: Path | str = ""):
        self.places, self.cold, self.out = list(places), cold, str(out)
        self.handles: list[LocalHandle] = []
        self.workers: dict[int, WorkerProcess] = {}  # by the number of their place
        self._told: set[str] = set()

    def free(self) -> int:
        """How many runs can be started now, if they need not be alone on a GPU."""
        self.handles = [handle for handle in self.handles if handle.alive()]
        self._tell()
        return len(self._open(alone=False))

    def _tell(self) -> None:
        """Print what workers had to say, once for all of them."""
        for note in [note for worker in self.workers.values() for note in worker.notes]:
            if note not in self._told:
                self._told.add(note)
                tqdm.write(f"note: {note}", file=sys.stderr)  # around live lines, if there are any

    def start(self, tasks: Sequence[Task]) -> list[LocalHandle]:
        """Start the first of these tasks, until there is no place for one: those after it wait too."""
        started: list[LocalHandle] = []
        for task in tasks:
            alone = _needs_to_be_alone(task, self.places[0])
            place = next(iter(self._open(alone)), None)
            if place is None:
                break
            told = _told(task, self.places[place], alone)
            started.append(LocalHandle(self._asked(told, place), place, alone))
            self.handles.append(started[-1])
        return started

    def _open(self, alone: bool) -> list[int]:
        """The places where a run can be started now, whether it must be alone on its GPU or not."""
        taken = {handle.place for handle in self.handles}
        closed = {self.places[one.place].gpu for one in self.handles if one.alone or alone} - {""}
        return [i for i, place in enumerate(self.places) if i not in taken and place.gpu not in closed]

    def _asked(self, task: Task, place: int) -> WorkerProcess:
        worker = self.workers.get(place)
        if worker is not None:
            if worker.ask(task):
                return worker
            worker.leave()  # it was killed
        worker = self.workers[place] = self._worker(self.places[place])
        worker.ask(task)  # one that has ended already answers so
        return worker

    def _worker(self, slot: Slot) -> WorkerProcess:
        threads = os.environ.get("OMP_NUM_THREADS", str(len(slot.cores)))
        environment = {
            **os.environ,
            **places.environment(),
            "OMP_NUM_THREADS": threads,
            JOBS: str(len(self.places)),
            "PYTHONUNBUFFERED": "1",  # forked runs inherit what their worker was started with
            **({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {}),
        }
        words = ["--cores", ",".join(map(str, slot.cores)), "--out", self.out]
        return WorkerProcess([*words, *(["--cold"] if self.cold else [])], environment)

    def poll(self) -> None:
        """Nothing to ask."""

    def adopt(self, folder: Path) -> None:
        """Nothing to take over: a run of an earlier runner holds its lock."""

    def close(self, grace_s: float = 10.0) -> None:
        """End all runs and workers: asked first, killed after a while."""
        for worker in self.workers.values():
            worker.signal(signal.SIGTERM)
        end = time.monotonic() + grace_s
        while not all(worker.ended() for worker in self.workers.values()) and time.monotonic() < end:
            time.sleep(0.05)
        for worker in self.workers.values():
            worker.end()  # also what a worker that has ended left behind
        self._tell()
