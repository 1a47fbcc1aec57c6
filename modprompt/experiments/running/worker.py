"""One run from start to end: the same for every launcher. The run itself holds its folder.

A run that fails leaves job/failure.json with its last line. One that was asked to stop leaves nothing: it resumes with
the next start. Nor does one that waits for labels: it has said itself what is missing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from modprompt import places
from modprompt.active.asked import asked
from modprompt.errors import UserError, WaitsForLabels
from modprompt.experiments.plan.commands import command
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.files import free_name, write_json
from modprompt.programs import signals_here

DONE, FAILED, BUSY = 0, 1, 75
ASKS = WaitsForLabels.exit_code
_STOPS = [-number for number in signals_here("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")]
_INTERRUPTED = 130  # the exit code of a program that was


class Task(NamedTuple):
    """A run below an output folder, and the words of its command; it may start on another machine."""

    job: Job
    out: Path
    command: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of its results."""
        return self.out / self.job.folder


def task_of(job: Job, out: Path, data: Path) -> Task:
    """The task of a job."""
    return Task(job, out, tuple(command(job, out, data)))


def _put_old_log_aside(folder: Path) -> None:
    """Name an earlier start's log.txt after its time, so that log.txt is the newest: parsers read only that."""
    log = folder / "log.txt"
    with contextlib.suppress(FileNotFoundError):
        stamp = time.strftime("-%Y-%m-%d-%H-%M-%S", time.localtime(log.stat().st_mtime))
        log.rename(free_name(f"{log}{stamp}"))


Child = subprocess.Popen[bytes] | BaseProcess
Start = Callable[[Sequence[str], Mapping[str, str], Path], Child]  # words, environment, and the file for all output


def program(
    words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a command as its own program; with cores, on these, and in a session that Ctrl-C does not reach."""

    def prepared() -> None:
        for number in (signal.SIGUSR1, signal.SIGUSR2):  # they ask for a place, which a worker clears
            signal.signal(number, signal.SIG_IGN)
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)

    with console.open("ab") as file:
        return subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=bool(cores),
            preexec_fn=prepared,
        )


class Run:
    """A task that is run, from its start on, with more variables in its environment.

    Until it has ended, the lock of who starts runs in its folder is held.
    """

    def __init__(self, task: Task, start: Start = program, **more: str):
        self.task, self.folder = task, task.folder
        self.child: Child | None = None
        self._code: int | None = None
        self._locks = contextlib.ExitStack()
        try:
            self._held = self._locks.enter_context(run_folder.starting(self.folder))
            if self._stands().name == state.FINISHED:
                self._code = DONE
            else:
                self._begin(start, {**os.environ, **places.environment(), "PYTHONUNBUFFERED": "1", **more})
        except lock.Busy:
            self._code = BUSY
        except (UserError, OSError) as error:
            self._code = self._unwritten(error)
        if self._code is not None:
            self.leave()

    def _stands(self) -> state.State:
        return state.by_result(self.task.job, self.task.out)

    def _begin(self, start: Start, environment: Mapping[str, str]) -> None:
        (self.folder / state.FAILURE).unlink(missing_ok=True)
        _put_old_log_aside(self.folder)
        console = self.folder / state.CONSOLE
        console.unlink(missing_ok=True)  # a link or a pipe, too, as a foreign tree may have
        console.touch()
        self.child = start(self.task.command, environment, console)

    def ended(self) -> int | None:
        """Its process's exit code: minus a signal that ended it, 255 if its server was killed; None while it runs."""
        if isinstance(self.child, BaseProcess):
            return self.child.exitcode
        return None if self.child is None else self.child.poll()

    def poll(self) -> int | None:
        """DONE, FAILED, ASKS if it waits for labels, or BUSY if another process has the run; None while it runs."""
        if self._code is None and (ended := self.ended()) is not None:
            try:
                self._code = self._answer(ended)
            except OSError as error:
                self._code = self._unwritten(error)
            self.leave()
        return self._code

    def wait(self) -> int:
        """Wait for its end; as poll."""
        while (code := self.poll()) is None:
            time.sleep(0.1)
        return code

    def _answer(self, ended: int) -> int:
        if not self._held.is_there():
            if not run_folder.is_held(self.folder):  # by a run that began there since
                self._record(f"its output folder {run_folder.GONE}", ended)
            return FAILED
        stands = self._stands()
        if stands.name == state.FINISHED:
            return DONE
        if run_folder.is_held(self.folder, (run_folder.LOCK,)):  # another was faster, or it outlives its server
            return BUSY
        if ended == ASKS and asked(self.folder) is not None:
            return ASKS
        if ended not in (*_STOPS, _INTERRUPTED):
            self._record(self._why(ended, stands), ended)
        return FAILED

    def _why(self, ended: int, stands: state.State) -> str:
        line = state.last_line(self.folder / state.CONSOLE)
        if ended < 0:
            name = signal.Signals(-ended).name
            return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}; before: {line}"
        return line if ended else f"{stands.why or 'ended without a result'}; before: {line}"

    def _record(self, why: str, ended: int) -> None:
        facts = {"line": why, "exit": ended, "host": socket.gethostname(), "time_s": time.time()}
        write_json(self.folder / state.FAILURE, {**facts, "command": list(self.task.command)})

    def _unwritten(self, error: Exception) -> int:
        """Not even a message can be written in its folder."""
        print(f"error: {self.folder}: {error}", file=sys.stderr)
        return FAILED

    def signal(self, number: int) -> None:
        """Send a signal to its process; to all of its session, if it has one of its own."""
        if self.child is not None and self.child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                leads = os.getpgid(self.child.pid) == self.child.pid
                (os.killpg if leads else os.kill)(self.child.pid, number)

    def leave(self) -> None:
        """Give its folder's lock back, however it stands."""
        self._locks.close()


def stop(runs: Sequence[Run], grace_s: float = 10.0) -> None:
    """End runs: asked first, killed after a while. What they saved after their last whole epoch stays, and no failure.

    A signal handler may call it, in the middle of a run's `wait`.
    """
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):  # a killed one takes a moment
        for run in (left := [run for run in runs if run.child and run.ended() is None]):
            run.signal(number)
        end = time.monotonic() + wait_s
        while any(run.ended() is None for run in left) and time.monotonic() < end:
            time.sleep(0.05)
    for run in runs:
        run.leave()
