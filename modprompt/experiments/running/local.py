"""Runs on this machine: one per GPU, or some at once on the CPU, each pinned to its share of the cores.

A place has a worker process, which runs one task after the other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Sequence

from tqdm import tqdm

from modprompt import places
from modprompt.experiments.running.service import WorkerProcess
from modprompt.experiments.running.worker import BUSY, Task
from modprompt.runs.result import JOBS


class Slot(NamedTuple):
    """A place for one run: its cores, and its GPU as CUDA_VISIBLE_DEVICES has it (empty: none)."""

    cores: tuple[int, ...]
    gpu: str = ""


def shares(cores: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """The cores in `n` shares, as even as can be; where there are more shares than cores, some share a core."""
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
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; none where nvidia-smi finds none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [
            word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if word.strip() not in ("", "-1")
        ]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def slots(jobs: int | None, found: Sequence[str], cores: Sequence[int]) -> list[Slot]:
    """The places of this machine.

    Args:
        jobs: how many; without it one per GPU, or on the CPU one per core up to four.
        found: its GPUs; with more jobs than GPUs, some share one.
        cores: its cores.
    """
    n = jobs or len(found) or min(len(cores), 4)
    return [Slot(share, found[i % len(found)] if found else "") for i, share in enumerate(shares(cores, n))]


class LocalHandle:
    """A task that a worker process was asked to run.

    Args:
        worker: the process.
        place: the number of its place.
    """

    def __init__(self, worker: WorkerProcess, place: int):
        self.worker, self.place = worker, place
        self._code: int | None = None

    def alive(self) -> bool:
        """Whether the worker is still at it."""
        if self._code is None:
            self._code = self.worker.answer()
        return self._code is None

    def busy(self) -> bool:
        """Whether the worker has left it because somebody else has the run."""
        return self._code == BUSY


class LocalLauncher:
    """Has worker processes of this machine run tasks.

    Args:
        places: what they may use.
        cold: whether every run is a program of its own, which imports all it needs.
        out: the output folder, which workers name in their command lines, for whoever lists processes.
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
        """How many runs can be started now."""
        self.handles = [handle for handle in self.handles if handle.alive()]
        self._tell()
        return len(self.places) - len(self.handles)

    def _tell(self) -> None:
        """Print what workers had to say, once for all of them."""
        for note in [note for worker in self.workers.values() for note in worker.notes]:
            if note not in self._told:
                self._told.add(note)
                tqdm.write(f"note: {note}", file=sys.stderr)  # around live lines, if there are any

    def start(self, tasks: Sequence[Task]) -> list[LocalHandle]:
        """Have tasks run, at most `free()` of them."""
        taken = {handle.place for handle in self.handles}
        free = [place for place in range(len(self.places)) if place not in taken]
        started = [LocalHandle(self._asked(task, place), place) for task, place in zip(tasks, free)]
        self.handles += started
        return started

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
            "PYTHONUNBUFFERED": "1",  # runs that are forked have what their worker was started with
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
