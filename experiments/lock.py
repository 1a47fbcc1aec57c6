"""One process at a time in a run's folder. The lock ends with the last process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from modprompt.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def _try(file: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise UserError(f"the file system of {path} has no file locks: give another --out") from None
        raise
    return True


def take(path: Path, patience_s: float = 2.0) -> int | None:
    """Take the lock of a file, made with its folders, for this process and the children that inherit it.

    Args:
        path: the file.
        patience_s: how long to try: whoever asks `is_held` holds it for a moment.

    Returns:
        The open file, or None if somebody else has the lock.

    Raises:
        UserError: if the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(file, True)
    end = time.monotonic() + patience_s
    while not _try(file, fcntl.LOCK_EX, path):
        if time.monotonic() > end:
            os.close(file)
            return None
        time.sleep(0.05)
    return file


def is_held(path: Path) -> bool:
    """Whether some process holds the lock of a file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        file = os.open(path, os.O_RDONLY)
        try:
            return not _try(file, fcntl.LOCK_SH, path)
        finally:
            os.close(file)
    return False
