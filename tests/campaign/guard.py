"""What nothing that is read may do: run programs, open connections, change the disk elsewhere, hang.

Python tells an audit hook of all of it, whoever asks: our code, PyTorch, Pillow, numpy. The hook stays for the
process, so a part of the campaign is a process of its own; it notes only while `watched` is open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from tests.killing import CHANGES

LIMIT_S = 20
LONGEST_LINE = 600  # of an OSError's; a UserError cuts its own, and `damage` holds where it may
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn")
_CONNECTS = ("socket.connect", "socket.bind", "socket.sendto", "urllib.Request", "ftplib.connect", "smtplib.connect")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_BELONGS_TO_ALL = ("/dev/null", "/proc/", "/dev/shm/")


class Hung(BaseException):
    """Something took longer than LIMIT_S; no `except Exception` catches it."""


class Seen(NamedTuple):
    """What came of a piece of work.

    value: what it gave, None if it raised.
    line: the message of the UserError or OSError that it raised, else "".
    fault: what must not be: a traceback, a hang, a forbidden act; "" if nothing.
    seconds: how long it took.
    """

    value: Any
    line: str
    fault: str
    seconds: float


class _Watch:
    folder: str = ""
    acts: list[str] = []


_watch = _Watch()
_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watch.folder:
        return
    if event in _RUNS or event in _CONNECTS:
        _watch.acts.append(f"{event} {str(arguments)[:120]}")
    elif event == "open":
        path, mode, flags = arguments
        if set(mode or "") & set("wax+") or (flags or 0) & _WRITES:
            _note_outside(event, path)
    elif event in CHANGES:
        for path in arguments:
            if isinstance(path, (str, bytes)):
                _note_outside(event, path, arguments[-1])


def _note_outside(event: str, path: Any, folder: Any = None) -> None:
    """Note a path outside of what is watched; a relative one may be meant from an open folder, by its number."""
    if isinstance(path, int) or path is None:
        return
    where = os.fsdecode(path)
    if isinstance(folder, int) and folder > 2 and event != "os.truncate" and not where.startswith(os.sep):
        where = f"{os.readlink(f'/proc/self/fd/{folder}')}/{where}"  # noqa: PTH115
    where = os.path.abspath(where)  # noqa: PTH100 - pathlib would be heard by the hook
    if not where.startswith((_watch.folder + os.sep, *_BELONGS_TO_ALL)) and where != _watch.folder:
        _watch.acts.append(f"{event} {where[:120]}")


def _ring(*_: Any) -> None:
    raise Hung


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Note what is done that nothing that is read may do; writing is allowed in `folder` alone."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _watch.acts = []
    earlier = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    _watch.folder = str(folder.resolve())
    try:
        yield _watch.acts
    finally:
        _watch.folder = ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def attempt(work: Callable[[], Any], folder: Path) -> Seen:
    """Do a piece of work that reads, and see what comes of it.

    Args:
        work: reads, and gives a value or raises UserError or OSError.
        folder: where it may write.
    """
    value, line, fault, start = None, "", "", time.monotonic()
    with watched(folder) as acts:
        try:
            value = work()
        except (UserError, OSError) as error:
            line = str(error)
            if not line or "\n" in line or len(line) > LONGEST_LINE:
                fault = f"not one line: {line[:200]!r} ({type(error).__name__}, {len(line)} characters)"
        except Hung:
            fault = f"hung for {LIMIT_S} s"
        except BaseException as error:
            fault = f"{type(error).__name__}: {str(error)[:200]!r} {_place(error)}"
    seconds = time.monotonic() - start
    if acts:
        fault = f"{fault} did {acts[0]}".strip()
    elif seconds > LIMIT_S and not fault:
        fault = f"took {seconds:.0f} s"
    return Seen(value, line, fault, seconds)


def _place(error: BaseException) -> str:
    """FILE:LINE where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
