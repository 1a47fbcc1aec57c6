"""One run from start to end: the same for every launcher. The run itself holds its folder.

A run that fails leaves job/failure.json with its last line. One that was asked to stop leaves nothing: it resumes with
the next start. Nor does one that waits for labels: it has said itself what is missing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from modprompt import places
from modprompt.active.asked import asked
from modprompt.errors import OutOfMemory, WaitsForLabels
from modprompt.experiments.plan.commands import command, expected
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.stages import stage_of
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.files import write_json
from modprompt.io.result import GPU_SHARE, ON_GPU
from modprompt.programs import signals_here

DONE, FAILED, BUSY = 0, 1, 75
ASKS, FULL = WaitsForLabels.exit_code, OutOfMemory.exit_code
_STOPS = signals_here("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Task(NamedTuple):
    """What a worker must know about a run, as plain values: it may start on another machine.

    folder: absolute folder of the results.
    command: the words of the command.
    settings: what the result must show.
    tests: whether nothing is trained.
    parent: absolute folder of the training whose model is tested; empty if none is.
    stage: the feature whose first stage it is, which must leave more; empty for none.
    gpu_need: the share of a GPU's memory that runs of its kind were seen to need; None if that is not known.
    gpu_share: the share that it may use.
    on_gpu: how many runs share its GPU; 0 if that is not known.
    """

    folder: str
    command: tuple[str, ...]
    settings: dict[str, str]
    tests: bool
    parent: str
    stage: str = ""
    gpu_need: float | None = None
    gpu_share: float = 1.0
    on_gpu: int = 0


def task_of(job: Job, out: Path, data: Path) -> Task:
    """The task of a job."""
    parent = str(out / job.parent.folder) if job.parent else ""
    words = tuple(command(job, out, data))
    return Task(str(out / job.folder), words, expected(job, out), job.tests, parent, job.stage)


def last_line(path: Path) -> str:
    """The last line of a console that is not blank; for a progress bar, what it shows last."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            text = file.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def _put_old_log_aside(folder: Path) -> None:
    """Name an earlier start's log.txt after its time, so that log.txt is the newest: parsers read only that."""
    log = folder / "log.txt"
    with contextlib.suppress(FileNotFoundError):
        stamp = time.strftime("-%Y-%m-%d-%H-%M-%S", time.localtime(log.stat().st_mtime))
        aside, number = log.with_name(log.name + stamp), 0
        while aside.exists():
            number += 1
            aside = log.with_name(f"{log.name}{stamp}-{number}")
        log.rename(aside)


def _new_file(path: Path) -> BinaryIO:
    """A file to write anew; a link or a pipe in its place, as a foreign tree may have, is removed."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return path.open("wb")


def deaf_to_user_signals() -> None:
    """In a run's process: these signals ask the worker to free its place, and it ends the child itself."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def has_ended(pid: int, patience_s: float) -> bool:
    """Whether a child has ended, or ends within some time; it is not reaped."""
    end = time.monotonic() + patience_s
    while True:
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:  # reaped already
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


class Child(Protocol):
    """A process that runs a command."""

    @property
    def pid(self) -> int:
        """Its number."""

    def wait(self) -> int:
        """Its exit code once it has ended; minus the signal if one ended it."""


class Start(Protocol):
    """A way to start a command as a child of this process."""

    def __call__(self, words: Sequence[str], environment: Mapping[str, str], console: BinaryIO) -> Child:
        """The child, which writes all output to `console`."""


def spawn(words: Sequence[str], environment: Mapping[str, str], console: BinaryIO) -> Child:
    """Start a command as its own program; see Start."""
    return subprocess.Popen(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=deaf_to_user_signals,
    )


class Worker:
    """Runs a task, and can be stopped while it does.

    Args:
        task: what to run.
        start: how its command is started.
    """

    def __init__(self, task: Task, start: Start = spawn):
        self.task, self.start = task, start
        self.folder = Path(task.folder)
        self.child: Child | None = None

    def finished(self) -> bool:
        """Whether the task's result is there."""
        parent = Path(self.task.parent) if self.task.parent else None
        return state.is_finished(self.folder, self.task.settings, self.task.tests, parent, self.task.stage)

    def run(self) -> int:
        """Run the task.

        Returns:
            DONE, FAILED, ASKS if it waits for labels, BUSY if another process has the run at the moment, or FULL if a
            share of a GPU was too little memory: it leaves no failure.
        """
        try:
            with run_folder.starting(self.folder) as held:
                return self._run(held)
        except lock.Busy:
            return BUSY

    def _run(self, held: lock.Lock) -> int:
        if self.finished():
            return DONE
        (self.folder / state.FAILURE).unlink(missing_ok=True)
        _put_old_log_aside(self.folder)
        code = self._run_child()
        if not held.is_there():
            return self._gone(code)
        if self.finished():
            return DONE
        if run_folder.is_held(self.folder, (run_folder.LOCK,)):  # another run was faster
            return BUSY
        if code == ASKS and asked(self.folder) is not None:
            return ASKS
        if code == FULL and self.task.gpu_share < 1:
            return FULL
        if -code not in _STOPS and code != 130:  # 130: train.py was interrupted
            self._record(code)
        return FAILED

    def _run_child(self) -> int:
        environment = {**os.environ, **places.environment(), **self._of_gpu(), "PYTHONUNBUFFERED": "1"}
        with _new_file(self.folder / state.CONSOLE) as console:
            self.child = self.start(self.task.command, environment, console)
            return self.child.wait()

    def _of_gpu(self) -> dict[str, str]:
        """What the run is told about its GPU."""
        task = self.task
        share = {GPU_SHARE: f"{task.gpu_share:.4f}"} if task.gpu_share < 1 else {}
        return {**share, **({ON_GPU: str(task.on_gpu)} if task.on_gpu else {})}

    def _record(self, code: int) -> None:
        line = last_line(self.folder / state.CONSOLE)
        if code < 0:
            name = signal.Signals(-code).name
            line = f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}; before: {line}"
        elif code == 0:
            line = f"{self._lacking()}; before: {line}"
        self._write(line, code)

    def _gone(self, code: int) -> int:
        """Record a run whose folder was removed, unless another process is running there by now."""
        if not run_folder.is_held(self.folder):
            self._write(f"its output folder {run_folder.GONE}", code)
        return FAILED

    def _write(self, line: str, code: int) -> None:
        facts: dict[str, Any] = {"line": line, "exit": code, "host": socket.gethostname(), "time_s": time.time()}
        write_json(self.folder / state.FAILURE, {**facts, "command": list(self.task.command)})

    def _lacking(self) -> str:
        """What a run that ended without an error has not left."""
        has_result = state.is_finished(self.folder, self.task.settings, self.task.tests, None)
        fault = stage_of(self.task.stage).lacks(self.folder) if has_result else ""
        return fault or "ended without a result"

    def stop(self, grace_s: float = 10.0) -> None:
        """End the child; what it saved after its last whole epoch stays.

        Called from signal handlers too, in the middle of a `wait`: so it uses nothing of Popen that acquires its lock.
        """
        if self.child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if has_ended(self.child.pid, 0.0):
                return
            os.kill(self.child.pid, number)
            if has_ended(self.child.pid, grace_s):
                return
