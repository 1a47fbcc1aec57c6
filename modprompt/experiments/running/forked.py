"""Runs as children of the standard library's forkserver, which has imported what they need: see cli/warm.py.

A child is a program of its own: with a session, environment, streams, cores and random numbers of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from modprompt import places
from modprompt.experiments.running.worker import Child, program

SERVER = "modprompt.cli.warm"  # the module that it imports
_SHARED = (signal.SIGINT, signal.SIGHUP)  # a terminal sends them to the runner, and to a server as well


def forked(words: Sequence[str], environment: Mapping[str, str], console: Path, cores: Sequence[int]) -> Child:
    """Start a run's command by forking; another command, or if the server is killed meanwhile, as its own program."""
    ours = places.program()
    if list(words[: len(ours) + 1]) != [*ours, "train"]:
        return program(words, environment, console, cores)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([SERVER])
    given = (list(words), dict(environment), console, list(cores))
    process = context.Process(target=_be_program, args=given)
    try:
        with _as_of_server(environment):
            process.start()
        return process
    except (EOFError, OSError):
        print("note: a run starts with its own imports: the server that forks was killed", file=sys.stderr)
        return program(words, environment, console, cores)


@contextlib.contextmanager
def _as_of_server(environment: Mapping[str, str]) -> Iterator[None]:
    """What a server that is started in the block inherits: the environment of runs, and that it heeds no terminal."""
    resource_tracker.ensure_running()  # first: its start unblocks signals
    ours = dict(os.environ)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SHARED)
    os.environ.update(environment)
    try:
        forkserver.ensure_running()
        yield
    finally:
        os.environ.clear()
        os.environ.update(ours)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be_program(words: list[str], environment: dict[str, str], console: Path, cores: list[int]) -> None:
    """In a child: run a command as its own program would."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SHARED)
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
