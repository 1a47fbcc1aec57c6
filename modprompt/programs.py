"""How a program ends, with one message on what a user can correct; and restoring what it changed in its process."""

import argparse
import contextlib
import importlib
import io
import os
import random
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from modprompt.errors import UserError

# what a user can correct
EXPECTED = (ValueError, OSError, FloatingPointError, ImportError, MemoryError, OverflowError)
NOBODY_READS = 141  # exit code: that of shells for a program that SIGPIPE ended


def one_line(error: BaseException) -> str:
    """The message of an error in one line; for an error of a data-loader worker, its last line."""
    if isinstance(error, OSError) and error.strerror and not error.filename:  # of a file, stream or connection
        return f"something could not be read or written ({error.strerror})"
    text = str(error).strip() or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


class ending:  # noqa: N801 - a context manager, called as a function
    """How a program ends: a warning, or a mistake that a user can correct, is one message; `code` is its exit code.

    The code is the program's own, if it has set one; 2 after a message on what is wrong (MODPROMPT_TRACEBACK=1 shows
    where), 3 after one on the labels that a run waits for, 130 if interrupted, or 141, as for programs that SIGPIPE
    ends, if nobody reads the output any more (`| head`).

    Args:
        interrupted: the message if it is interrupted.
    """

    def __init__(self, interrupted: str = "interrupted"):
        self.code = 0
        self._interrupted = interrupted

    def __enter__(self) -> "ending":
        self._within = contextlib.ExitStack()
        self._within.enter_context(_any_text_printed())
        self._within.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        with self._within:
            if isinstance(error, SystemExit):  # argparse has shown its help
                fault = _written()
                self.code = fault or self.code
                return bool(fault)
            if isinstance(error, (*EXPECTED, KeyboardInterrupt)):
                _end_bars()
            if isinstance(error, EXPECTED):
                self.code = _told(error)
            elif isinstance(error, KeyboardInterrupt):
                _say(self._interrupted)
                _log(self._interrupted)
                self.code = 130
            elif isinstance(error, Exception):  # our own fault, which Python shows
                _log("".join(traceback.format_exception(kind, error, trace)).rstrip())
                return False
            elif error is not None:
                return False
            unwritten = _written(told=self.code != 0)
            self.code = self.code or unwritten
            return True


def report(program: Callable[..., Any], *args: Any) -> int:
    """Run a program within `ending`; its exit code, the program's own if it gives one."""
    with ending() as end:
        code = program(*args)
        end.code = code if type(code) is int else 0
    return end.code


def _told(error: BaseException) -> int:
    """Print the message on a mistake, also into Dassl's log; its exit code."""
    if os.environ.get("MODPROMPT_TRACEBACK"):
        traceback.print_exc()
    message, code = f"{getattr(error, 'kind', UserError.kind)}: {one_line(error)}", UserError.exit_code
    if isinstance(error, BrokenPipeError) and (_written() == NOBODY_READS or _is_broken()):
        message, code = "error: nobody reads what is printed any more", NOBODY_READS
    else:
        _say(message)
    _log(message)
    return int(getattr(error, "exit_code", code))


def _end_bars() -> None:
    """End progress bars that an error left: their loops live on in its traceback, and our message would follow them."""
    kind = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in list(getattr(kind, "_instances", ())):
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or its stream is closed
            bar.close()


def _log(text: str) -> None:
    log = getattr(sys.stdout, "file", None)  # on Dassl's logger
    if log is not None:
        with contextlib.suppress(OSError):  # the disk is full, perhaps just the error
            log.write(text + "\n")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads
        print(text, file=sys.stderr)


def _written(told: bool = False) -> int:
    """Flush standard output; the exit code if that fails, else 0.

    Args:
        told: whether an error was printed already; else this prints one, unless nobody reads it.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _mute()
        return NOBODY_READS
    except OSError as error:
        if not told:
            _say(f"error: cannot write the output ({error.strerror})")
        _mute()
        return UserError.exit_code
    return 0


def _is_broken() -> bool:
    """Whether standard output is a pipe that nobody reads; unbuffered, a flush would not show it."""
    try:
        asked = select.poll()
        asked.register(_console().fileno(), select.POLLOUT)
        return any(found & (select.POLLERR | select.POLLHUP) for _, found in asked.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system, or not a file
        return False


def _mute() -> None:
    """Discard the rest of standard output: else Python complains at its end that it could not be written."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it is not a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _console().fileno())
        finally:
            os.close(nowhere)


def _console() -> Any:
    return getattr(sys.stdout, "console", sys.stdout)  # the stream inside Dassl's logger


@contextlib.contextmanager
def _any_text_printed() -> Iterator[None]:
    """In this context text that a stream cannot encode (PYTHONIOENCODING=ascii, names not in UTF-8) is escaped."""
    streams = [one for one in (sys.stdout, sys.stderr) if getattr(one, "errors", "") == "strict"]
    changed = [one for one in streams if isinstance(one, io.TextIOWrapper)]
    try:
        for stream in changed:
            stream.reconfigure(errors="backslashreplace")
        yield
    finally:
        for stream in changed:
            if not stream.closed:
                stream.reconfigure(errors="strict")


def close_log(console: TextIO) -> None:
    """Restore standard output and close the log file of Dassl's logger."""
    log, sys.stdout = sys.stdout, console
    if log is not console:
        try:
            log.close()
        except OSError as error:  # the disk is full
            print(f"warning: the log of this run is incomplete ({error.strerror})", file=sys.stderr)


def _has_affinity() -> bool:
    return hasattr(os, "sched_setaffinity")


@contextlib.contextmanager
def _python_kept() -> Iterator[None]:
    lists, streams, environment = (sys.path, sys.argv), (sys.stdout, sys.stderr), dict(os.environ)
    contents = [list(found) for found in lists]
    cores = os.sched_getaffinity(0) if _has_affinity() else None
    try:
        with warnings.catch_warnings():
            yield
    finally:
        (sys.path, sys.argv), (sys.stdout, sys.stderr) = lists, streams
        sys.path[:], sys.argv[:] = contents
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        if cores is not None and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")  # not imported: nothing was drawn
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)


@contextlib.contextmanager
def _torch_kept() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def left_as_found() -> Iterator[None]:
    """Restore, however the block ends, what programs of this project set in their process.

    That is sys.path, sys.argv and the standard streams, the environment, the cores to run on, warnings, the generators
    that a seed sets, PyTorch's threads and cuDNN's search for algorithms. Also a decorator: `@left_as_found()`.
    `signals_handled` restores signal handlers itself; imported modules stay.
    """
    with _python_kept(), _generators_kept(), _torch_kept():
        yield


def signals_here(*names: str) -> tuple[signal.Signals, ...]:
    """The signals of these names that this system has: Windows lacks SIGHUP and others."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


@contextlib.contextmanager
def signals_handled(numbers: Sequence[int], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Call a function at these signals while the block runs, except for those that are ignored (under nohup).

    Only the main thread can do that: in another one nothing changes.
    """
    asks = threading.current_thread() is threading.main_thread()
    earlier: dict[int, Any] = {}
    try:
        for number in numbers if asks else ():
            if signal.getsignal(number) != signal.SIG_IGN:
                earlier[number] = signal.signal(number, handler)
        yield
    finally:  # else later forks of this process would not end when told to
        for number, before in earlier.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)  # None: set by no Python code


def take_imports(parser: argparse._ActionsContainer) -> None:
    """Give a program, or a group of its flags, the flag --import, for import_modules."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import this module first: your own method, trainer or reader that registers itself, in the current "
        "folder or installed; may be given more than once",
    )  # fmt: skip


def import_modules(names: Sequence[str]) -> None:
    """Import a user's modules, which register trainers or readers; the current folder is searched first.

    Raises:
        UserError: if one is missing, imports something missing, or registers a name that exists already.
    """
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(f"--import {name}: {error} (searched first: {here})") from None
        except KeyError as error:  # from Dassl's registry
            said = str(error.args[0] if error.args else "")
            if "registered" not in said:
                raise
            raise UserError(
                f"--import {name}: a data set or trainer of that name exists already ({said}); --host FOLDER uses a "
                "codebase's readers in place of ours"
            ) from None
