"""A piece of work that is ended, as by SIGKILL, in front of its k-th change to the disk, or finds the disk full from there on."""

from __future__ import annotations

import errno
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


def in_child(work: Callable[[], object], at: int, counted: Path, full: bool = False) -> int:
    """Fork; the child does `work` and ends in front of its `at`-th opening for writing, renaming, removing or making of
    a folder (0: never), or with `full` has no room for files and folders from there on. Returns its exit code: KILLED,
    with the change in the file `counted`, or 0 with the number of changes there; below 0 if it hung for LIMIT_S.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen, is_over = 0, False

    def hook(event, arguments):
        nonlocal seen, is_over
        if is_over or not writes(event, arguments):
            return
        seen += 1
        if full and 0 < at <= seen and event in ("open", "os.mkdir"):  # to rename or remove takes no room
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        if seen == at and not full:
            is_over = True
            counted.write_text(f"{event} {arguments[0]}")
            os._exit(KILLED)

    signal.alarm(LIMIT_S)
    sys.addaudithook(hook)
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()  # nobody else says what failed
    finally:
        is_over = True
        if code == 0:
            counted.write_text(str(seen))
        os._exit(code)
