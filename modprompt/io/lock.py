"""One process at a time, by filelock. A lock ends with the process that took it, however that ends.

Forked children do not have it: workers of a data loader outlive a killed run by seconds.
"""

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modprompt.errors import UserError
from modprompt.io.files import PathLike

if TYPE_CHECKING:
    from filelock import FileLock


class Busy(UserError):
    """Another process has the lock."""


class Lock:
    """A lock of filelock that this process has while it keeps this object; `works` if the file system has locks."""

    def __init__(self, path: PathLike, held: "FileLock", works: bool):
        self._path, self._taken, self.release, self.works = path, os.stat(path), held.release, works

    def is_there(self) -> bool:
        """Whether its file is still the one of its name, neither deleted since nor replaced."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(self._taken, os.stat(self._path))
        return False


def take(path: PathLike, taken: str, patience_s: float = 2.0) -> Lock:
    """Take the lock of a file, made with its folders (else OSError), with a warning if the file system has none.

    Raises Busy, with the message `taken`, if another process has it. A call of `is_held` holds it for a moment, so that
    some patience is needed.
    """
    from filelock import FileLock, Timeout  # late: most commands take none

    held = FileLock(path, timeout=patience_s, thread_local=False, fallback_to_soft=False)
    while True:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
            return Lock(path, held, True)
        except Timeout:
            raise Busy(taken) from None
        except FileNotFoundError:  # its folder was renamed or deleted meanwhile
            continue
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP):
                raise
            warnings.warn(
                f"The file system of {path} has no file locks, so two processes could write to the same folder. "
                "Start only one process per folder.",
                stacklevel=2,
            )
            return Lock(path, held, False)


@contextlib.contextmanager
def alone(path: PathLike, taken: str, patience_s: float = 2.0, removes: bool = False) -> Iterator[bool]:
    """As take, during a block, which gets whether the lock works; it may remove the file in the end."""
    held = take(path, taken, patience_s)
    try:
        yield held.works
    finally:
        if removes:
            with contextlib.suppress(OSError):  # Windows removes no open file
                os.unlink(path)  # first: who waits for it notices, and makes it anew
        held.release()


def is_held(path: PathLike) -> bool:
    """Whether some process has the lock of a file, which may be another user's; OSError if it cannot be opened."""
    try:
        import fcntl  # not on Windows

        file = open(path, "rb", buffering=0)  # noqa: SIM115 - a context below
    except (ImportError, FileNotFoundError, NotADirectoryError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who look do not see each other
        except OSError as error:
            return isinstance(error, BlockingIOError)
    return False
