"""Running a program in a forked child as if in a fresh interpreter: `python -m NAME ...` without the imports' time."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import os
import runpy
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NoReturn

from modprompt.experiments.running.worker import deaf_to_user_signals

_FLUSH_FAILED = 120  # Python's own exit code for it
_INTERRUPTED = -signal.SIGINT
_AT_EXIT = (  # exit functions of imports that a child needs too, the last first
    ("logging", "shutdown"),
    ("torch.utils.data._utils", "_set_python_exit_flag"),
    ("multiprocessing.util", "_exit_function"),
)


class Forked:
    """A child of this process.

    Args:
        pid: its number.
    """

    def __init__(self, pid: int):
        self.pid = pid

    def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Delay Ctrl-C in this context, so that no child leaves its own code."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def fork(module: str, words: Sequence[str], environment: Mapping[str, str], console: BinaryIO, first: bytes) -> Forked:
    """Start a program in a child with all that was imported here; other open files stay open.

    Args:
        module: as for `python -m`.
        words: its arguments.
        environment: the child's.
        console: gets all its output.
        first: what is written there first.
    """
    with _no_interrupts():
        pid = os.fork()
        if pid == 0:
            _be_child(module, words, environment, console, first)
    return Forked(pid)


def _be_child(
    module: str, words: Sequence[str], environment: Mapping[str, str], console: BinaryIO, first: bytes
) -> NoReturn:
    code = 1
    try:
        _take_streams(console, first)
        _be_fresh(environment)
        code = _run(module, words)
        code = _end() or code
        if code == _INTERRUPTED:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
    finally:  # nothing of the parent's may go on here
        os._exit(code)


def _take_streams(console: BinaryIO, first: bytes) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, console.fileno(), console.fileno())):
        os.dup2(file, number)
    os.close(nothing)
    console.close()
    if first:
        os.write(1, first)


def _be_fresh(environment: Mapping[str, str]) -> None:
    """Set what a fresh interpreter has of its own: environment, signals, and random numbers unlike its siblings'."""
    os.environ.clear()
    os.environ.update(environment)
    deaf_to_user_signals()
    _forget_the_parents_end()
    importlib.invalidate_caches()  # a user's module may be new
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")  # Python itself draws a new seed for `random`
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.default_generator.seed()


def _forget_the_parents_end() -> None:
    """Drop the parent's exit functions: run here, they would remove what imports made and the next child needs."""
    atexit._clear()
    for module, name in _AT_EXIT:
        if hasattr(sys.modules.get(module), name):
            atexit.register(getattr(sys.modules[module], name))
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # temporary folders are among them
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]  # the child's first does it anew
    gc.freeze()  # see _flush_files


def _run(module: str, words: Sequence[str]) -> int:
    """Run a module as `python -m` does; its exit code, or _INTERRUPTED."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        return _exit_code(error.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        return _INTERRUPTED
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _exit_code(given: Any) -> int:
    if given is None or isinstance(given, int):
        return (given or 0) & 0xFF
    print(given, file=sys.stderr)
    return 1


def _end() -> int:
    """Do what an interpreter does at its end, except destroying its objects: _FLUSH_FAILED, or 0."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; multiprocessing's children do the same
    atexit._run_exitfuncs()
    _flush_files()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return _FLUSH_FAILED
    return 0


def _flush_files() -> None:
    """Flush files that the child has left open, as their deletion would; the parent's are frozen."""
    for file in gc.get_objects():
        if issubclass(type(file), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            with contextlib.suppress(Exception):  # closed, or the disk is full: an interpreter is silent, too
                file.flush()
