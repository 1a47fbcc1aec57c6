"""Start and stop a single run, and record why it failed. Local runs and the jobs of a cluster use this module."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from modprompt.active.picks_file import asked
from modprompt.errors import WaitsForLabels
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state
from modprompt.experiments.running.state import FAILED, FINISHED, RUNNING, WAITING, State
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.files import free_name, write_json
from modprompt.programs import signals_here

_STOPPED = (  # exit codes of a run that was asked to stop
    130, *(-number for number in signals_here("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")),
)  # fmt: skip
_READING = threading.Lock()  # data set readers draw few-shot lists with Python's global random numbers


class Process(Protocol):
    """A started run: a new program, or a fork of the server in forked.py."""

    @property
    def pid(self) -> int | None:
        """Return the process id, or None before the start."""

    def poll(self) -> int | None:
        """Return the exit code, or None if the process is active."""


def start_program(
    words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a command as a new process, whose output is appended to a file.

    Args:
        words: the command.
        environment: the environment variables.
        console: the file.
        cores: the cores that the process may use. Such a process has its own session, so that Ctrl-C does not stop it.
    """
    with console.open("ab") as file:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=bool(cores),
        )
    if cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, cores)
    return process


def stop(process: Process, grace_s: float = 10.0) -> None:
    """Stop a run and all processes of its session: with SIGTERM, and after `grace_s` seconds with SIGKILL."""
    pid = process.pid
    assert pid is not None  # the process was started
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, number)
        limit = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)


def complete(
    job: Job, words: Sequence[str], out: Path, inputs: Inputs | None, started_s: float, run: Callable[[Path], int]
) -> State:
    """Run a job if it is waiting, or if it failed before `started_s`, and return its state.

    A run that fails writes job/failure.json with the last line of its output. A run that was stopped, or that waits for
    labels, writes no such file, and the next start resumes the run.

    Args:
        job: the run.
        words: the command of the run, which job/failure.json records.
        out: the output folder.
        inputs: the current CLIP models and data sets, with which results are compared; None compares only settings.
        started_s: the Unix time of the start of the experiment.
        run: runs the command, writes its output to the given file, and returns the exit code.

    Raises:
        lock.Busy: if another process runs the job, or if a process of the run is still active.
        UserError, OSError: if the folder of the run cannot be written.
    """
    folder = out / job.folder

    def must_run(run_state: State) -> bool:
        return run_state.name in (WAITING, FAILED) and run_state.failed_s <= started_s

    with _READING:
        run_state = state.of(job, out, inputs)
    if run_state.name == RUNNING:
        raise lock.Busy(f"Another process is running in {folder}.")
    if not must_run(run_state):
        return run_state
    with run_folder.starting(folder) as held:
        with _READING:
            run_state = state.at_rest(job, out, inputs)
        if not must_run(run_state):  # another process has run the job in the meantime
            return run_state
        (folder / state.FAILURE).unlink(missing_ok=True)
        _rename_log(folder)
        console = folder / state.CONSOLE
        console.unlink(missing_ok=True)  # the file may be a link or a pipe
        console.touch()
        code = run(console)
        run_state = state.by_result(job, out)
        is_locked_by_others = run_folder.is_held(folder, (run_folder.LOCK,))
        if is_locked_by_others and not (held.is_there() and run_state.name == FINISHED):
            raise lock.Busy(f"Another process is running in {folder}.")
        why = _failure(run_state, folder, code) if held.is_there() else f"the output folder {run_folder.GONE}"
        if why is not None:
            facts = {"line": why, "exit": code, "host": socket.gethostname(), "time_s": time.time()}
            write_json(folder / state.FAILURE, {**facts, "command": list(words)})
        with _READING:
            return state.at_rest(job, out, inputs)


def _rename_log(folder: Path) -> None:
    """Add the time of its last change to the name of an earlier log.txt, because parsers of logs read only log.txt."""
    log = folder / "log.txt"
    with contextlib.suppress(FileNotFoundError):
        stamp = time.strftime("-%Y-%m-%d-%H-%M-%S", time.localtime(log.stat().st_mtime))
        log.rename(free_name(f"{log}{stamp}"))


def _failure(run_state: State, folder: Path, code: int) -> str | None:
    """Return why a run with this exit code has failed, or None if it has finished, was stopped, or waits for labels."""
    waits = code == WaitsForLabels.exit_code and asked(folder) is not None
    if run_state.name == FINISHED or waits or code in _STOPPED:
        return None
    line = state.last_line(folder / state.CONSOLE)
    if code > 0:
        return line
    if code < 0:
        name = signal.Signals(-code).name
        memory = " (possibly because the machine had no free memory)" if name == "SIGKILL" else ""
        return with_last_line(f"{name} ended the process{memory}", line)
    return with_last_line(run_state.why or "the process ended without a result", line)


def with_last_line(why: str, line: str) -> str:
    """Return the reason why a run ended, with the last line that the run printed."""
    return f"{why}. The last output was: {line}" if line else f"{why}. The run printed no output"
