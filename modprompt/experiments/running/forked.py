"""Runs as children of the standard library's forkserver, which has imported what they need: see cli/warm.py.

A child is a program of its own: with a session, environment, streams, cores and random numbers of its own.
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
from modprompt.experiments.running.chains import program

SERVER = "modprompt.cli.warm"  # the module that it imports
_TERMINAL = (signal.SIGINT, signal.SIGHUP)  # a terminal sends them to the runner, and to a server as well
_ALONE = threading.Lock()  # starting a child asks for the exit codes of others, which only one thread gets


class Forked(ForkServerProcess):
    """A child of the server."""

    def poll(self) -> int | None:
        """Its exit code: minus a signal that ended it, 255 if its server was killed; None while it runs."""
        with _ALONE:
            return self.exitcode


def forked(
    words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int]
) -> Forked | subprocess.Popen[bytes]:
    """Start a run's command by forking; another command, or if the server is killed meanwhile, as its own program.

    A server that is started for it has the environment of this process.
    """
    ours = places.program()
    if list(words[: len(ours) + 1]) != [*ours, "train"]:
        return program(words, environment, console, cores)
    child = Forked(target=_be_program, args=(list(words), dict(environment), console, list(cores)))
    with _ALONE:
        resource_tracker.ensure_running()  # first: its start unblocks signals
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL)
        try:
            forkserver.set_forkserver_preload([SERVER])
            child.start()
            return child
        except (EOFError, OSError):
            print(
                "note: the process from which runs are forked was killed, so this run starts as a new Python "
                "process, which is slower.",
                file=sys.stderr,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return program(words, environment, console, cores)


def _be_program(words: list[str], environment: dict[str, str], console: Path, cores: list[int]) -> None:
    """In a child: run a command as its own program would."""
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
    sys.path[:] = warm.PATH  # not the runner's
    sys.modules["numpy"].random.seed()  # Python itself draws a new seed for `random`
    sys.modules["torch"].default_generator.seed()
    ours = places.program()
    sys.argv = [ours[-1], *words[len(ours) :]]
    try:
        runpy.run_module(ours[-1], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # the server's children end without them, and without writing open files out
        for file in gc.get_objects():
            if issubclass(type(file), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
                with contextlib.suppress(Exception):  # closed, or the disk is full: an interpreter is silent, too
                    file.flush()
