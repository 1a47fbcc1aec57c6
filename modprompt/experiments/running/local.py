"""Runs on this machine: one per GPU, or some at once on the CPU, each pinned to its share of the cores."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Sequence

from modprompt import places
from modprompt.experiments.running.worker import BUSY, Task


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
    """A worker process and all that it has started."""

    def __init__(self, process: subprocess.Popen[bytes], slot: Slot):
        self.process, self.slot = process, slot

    def alive(self) -> bool:
        """Whether the worker still runs."""
        return self.process.poll() is None

    def busy(self) -> bool:
        """Whether the worker ended because somebody else has the run."""
        return self.process.returncode == BUSY

    def signal(self, number: int) -> None:
        """Send a signal to the worker and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class LocalLauncher:
    """Starts workers as processes of this machine.

    Args:
        places: what they may use.
    """

    poll_s = 0.25
    patience_s = 0.0
    stays = False

    def __init__(self, places: Sequence[Slot]):
        self.places = list(places)
        self.handles: list[LocalHandle] = []

    def free(self) -> int:
        """How many runs can be started now."""
        self.handles = [handle for handle in self.handles if handle.alive()]
        return len(self.places) - len(self.handles)

    def start(self, tasks: Sequence[Task]) -> list[LocalHandle]:
        """Start workers, at most `free()` of them."""
        taken = [handle.slot for handle in self.handles]
        places = list(self.places)
        for slot in taken:
            places.remove(slot)
        started = []
        for task, slot in zip(tasks, places):
            started.append(self._start(task, slot))
            self.handles.append(started[-1])
        return started

    def _start(self, task: Task, slot: Slot) -> LocalHandle:
        cores = ",".join(map(str, slot.cores))
        threads = os.environ.get("OMP_NUM_THREADS", str(len(slot.cores)))
        environment = {
            **os.environ,
            **places.environment(),
            "OMP_NUM_THREADS": threads,
            **({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {}),
        }
        words = [
            sys.executable,
            "-m",
            "modprompt.experiments.running.worker",
            json.dumps(task._asdict()),
            "--cores",
            cores,
        ]
        # a session of its own: Ctrl-C reaches the runner alone, which ends its runs in order
        return LocalHandle(subprocess.Popen(words, env=environment, start_new_session=True), slot)

    def poll(self) -> None:
        """Nothing to ask."""

    def adopt(self, folder: Path) -> None:
        """Nothing to take over: a run of an earlier runner holds its lock."""

    def close(self, grace_s: float = 10.0) -> None:
        """End all runs: asked first, killed after a while."""
        for handle in self.handles:
            handle.signal(signal.SIGTERM)
        end = time.monotonic() + grace_s
        while any(handle.alive() for handle in self.handles) and time.monotonic() < end:
            time.sleep(0.05)
        for handle in self.handles:
            handle.signal(signal.SIGKILL)  # also what a worker that has ended left behind
            handle.process.wait()
