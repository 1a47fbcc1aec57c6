"""Killing a piece of work, as by SIGKILL, in front of its k-th change to the disk."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink")
KILLED = 77
LIMIT_S = 60


def writes(event: str, arguments) -> bool:
    """Whether something that Python tells its audit hooks changes the disk, or opens a file to do so."""
    if event == "open":
        _, mode, flags = arguments
        return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES


def in_child(work: Callable[[], object], kill_at: int, counted: Path) -> int:
    """Fork; the child does `work` and ends in front of its `kill_at`-th opening for writing, renaming, removing or
    making of a folder (0: never). Returns its exit code: KILLED, with the change in the file `counted`, or 0 with the
    number of changes there; below 0 if it hung for LIMIT_S.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if writes(event, arguments):
            seen += 1
            if seen == kill_at:
                counted.write_text(f"{event} {arguments[0]}")
                os._exit(KILLED)

    signal.alarm(LIMIT_S)
    sys.addaudithook(hook)
    code = 1
    try:
        work()
        total, code = seen, 0
        counted.write_text(str(total))
    except BaseException:
        traceback.print_exc()  # nobody else says what failed
    finally:
        os._exit(code)
