"""Start runs as forks of a server process, which has already imported all packages: see cli/warm.py.

The server is the forkserver of the standard library. Each run has its own session, environment variables, output file,
cores and random numbers, like a new program.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from modprompt import places
from modprompt.experiments.running.single_run import start_program

SERVER = "modprompt.cli.warm"  # the module that the server imports
_TERMINAL = (signal.SIGINT, signal.SIGHUP)  # signals of a terminal to the runner, which also reach the server
_LOCK = threading.Lock()  # starting a process reads the exit codes of others, which only one thread receives


class Forked(ForkServerProcess):
    """A run that was forked from the server."""

    def poll(self) -> int | None:
        """Return the exit code: minus the number of a signal, 255 if the server was killed, None for an active run."""
        with _LOCK:
            return self.exitcode


def start_forked(
    words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int]
) -> Forked | subprocess.Popen[bytes]:
    """Start the command of a run as a fork of the server, which is started with the environment of this process.

    Other commands are started as new programs, and so is the run if the server was killed. The arguments are those of
    `start_program`.
    """
    start = [*places.program(), "train"]
    if list(words[: len(start)]) != start:
        return start_program(words, environment, console, cores)
    process = Forked(target=_be_program, args=(list(words), dict(environment), console, list(cores)))
    with _LOCK:
        resource_tracker.ensure_running()  # before the signals are blocked, because its start unblocks them
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL)
        try:
            forkserver.set_forkserver_preload([SERVER])
            process.start()
            return process
        except (EOFError, OSError):
            print(
                "note: the process from which runs are forked was killed, so this run starts as a new Python "
                "process, which is slower.",
                file=sys.stderr,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return start_program(words, environment, console, cores)


def _be_program(words: list[str], environment: dict[str, str], console: Path, cores: list[int]) -> None:
    """Run a command in the forked process as a new program would."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINAL)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    with console.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    warm = sys.modules.get(SERVER)
    if warm is None or warm.WHY_NOT:
        os.execve(words[0], words, environment)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = warm.PATH  # the server has the path of the runner
    sys.modules["numpy"].random.seed()  # Python itself sets a new seed for `random` after a fork
    sys.modules["torch"].default_generator.seed()
    ours = places.program()
    sys.argv = [ours[-1], *words[len(ours) :]]
    try:
        runpy.run_module(ours[-1], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # forks of the server do not call exit functions and do not flush open files
        for file in gc.get_objects():
            if issubclass(type(file), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
                with contextlib.suppress(Exception):  # Python ignores closed files and full disks, too
                    file.flush()
