"""Runs on this machine: one or more per GPU, or some at once on the CPU, each pinned to its share of the cores."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.experiments.running.worker import Run, Start, Task, program, stop
from modprompt.io.result import GPU_SHARE, JOBS, ON_GPU

_SHARED = 0.9  # of a GPU's memory, for runs that share it: each process uses some that PyTorch does not count


class Slot(NamedTuple):
    """A place for one run: its cores, its GPU as in CUDA_VISIBLE_DEVICES (or ""), and how many places that has."""

    cores: tuple[int, ...]
    gpu: str = ""
    on_gpu: int = 1

    @property
    def variables(self) -> dict[str, str]:
        """What a run is told about its GPU."""
        if not self.gpu:
            return {}
        share = {GPU_SHARE: f"{_SHARED / self.on_gpu:.4f}"} if self.on_gpu > 1 else {}
        return {"CUDA_VISIBLE_DEVICES": self.gpu, ON_GPU: str(self.on_gpu), **share}


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
        names = [word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name not in ("", "-1")]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def slots(jobs: int | None, found: Sequence[str], cores: Sequence[int], per_gpu: int | None = None) -> list[Slot]:
    """The places of a machine with these GPUs and cores, all with an equal share of a GPU, in turn.

    `jobs` places, or `per_gpu` (1) on each GPU, or without one a place per core up to four. `per_gpu` is a limit for
    `jobs`; without it, more jobs than GPUs share them.

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


class LocalLauncher:
    """Starts runs in places of this machine; `cold`: each as its own program, which imports all it needs."""

    poll_s = 0.1
    patience_s = 0.0
    stays = False

    def __init__(self, places: Sequence[Slot], cold: bool = False):
        self.places = list(places)
        self.cold = cold or sys.platform == "darwin"  # which has no safe fork
        self.runs: dict[int, Run] = {}  # by the number of their place
        threads = min((len(slot.cores) for slot in places), default=1)  # one number: it decides how sums are rounded
        self.variables = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            JOBS: str(len(self.places)),
        }

    def _open(self) -> list[int]:
        return [n for n in range(len(self.places)) if n not in self.runs or self.runs[n].poll() is not None]

    def free(self) -> int:
        """How many runs can be started now."""
        return len(self._open())

    def start(self, tasks: Sequence[Task]) -> list[Run]:
        """Start these runs, at most `free()`."""
        started = []
        for task, place in zip(tasks, self._open()):
            slot = self.places[place]
            self.runs[place] = Run(task, self._start(slot), **self.variables, **slot.variables)
            started.append(self.runs[place])
        return started

    def _start(self, slot: Slot) -> Start:
        if self.cold:
            return functools.partial(program, cores=slot.cores)
        from modprompt.experiments.running.forked import forked  # late: Windows has none

        return functools.partial(forked, cores=slot.cores)

    def adopt(self, folder: Path) -> None:
        """Nothing to take over: a run of an earlier runner holds its lock."""

    def close(self, grace_s: float = 10.0) -> None:
        """End all runs: asked first, killed after a while."""
        stop(list(self.runs.values()), grace_s)
