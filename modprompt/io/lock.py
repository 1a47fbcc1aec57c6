"""One process at a time. A lock ends with the last process that holds it, however that ends."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.safe_open import PathLike

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # the module is all that mypy knows

SYSTEM_HAS_LOCKS = fcntl is not None
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait


class NoLocks(OSError):
    """The file system, or the system, has no file locks."""


def _try(file: int, exclusive: bool, path: object) -> bool:
    if fcntl is None:
        raise NoLocks(errno.ENOLCK, "this system has no file locks", str(path))
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(error.errno, "the file system has no file locks", str(path)) from None
        raise
    return True


def take(path: PathLike, patience_s: float = 2.0) -> int | None:
    """Take the lock of a file, made with its folders, for this process and the children that inherit it.

    Args:
        path: the file.
        patience_s: how long to try: a call of `is_held` holds it for a moment.

    Returns:
        The open file, or None if another process has the lock.

    Raises:
        NoLocks: if there are no locks there.
        OSError: if the file cannot be made.
    """
    while True:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = _hold(os.open(str(path), os.O_RDWR | os.O_CREAT | _OPEN, 0o666), path, patience_s)
        if file is None or is_of(file, path):
            return file
        os.close(file)  # its folder was renamed or deleted while it was waited for: there is another one now, or none


def is_of(file: int, path: PathLike) -> bool:
    """Whether an open file is the one that a path names now."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(str(path)))
    except FileNotFoundError:
        return False


def take_folder(folder: PathLike, patience_s: float = 2.0) -> int | None:
    """As `take`, with the lock of a folder itself: nothing is made in it, and nothing is left.

    Raises:
        NoLocks: if there are no locks of folders there.
        OSError: if the folder cannot be opened.
    """
    if fcntl is None:
        raise NoLocks(errno.ENOLCK, "this system has no file locks", str(folder))
    try:
        return _hold(os.open(str(folder), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)), folder, patience_s)
    except OSError as error:
        if error.errno in (errno.EBADF, errno.EINVAL):  # network file systems that lock only files open for writing
            raise NoLocks(error.errno, "the file system has no locks of folders", str(folder)) from None
        raise


@contextlib.contextmanager
def alone(
    path: PathLike,
    taken: str,
    *,
    folder: bool = False,
    patience_s: float = 2.0,
    without: Callable[[str], None] | None = None,
) -> Iterator[bool]:
    """The lock of a file, or of a folder itself, held during a block.

    Args:
        path: the file, made with its folders; or a folder that exists.
        taken: the message if another process has it: what is wrong and what to do.
        folder: whether it is a folder.
        patience_s: how long to try.
        without: called with the reason if there are no locks.

    Yields:
        Whether there are locks there.

    Raises:
        UserError: if another process has it.
        OSError: if it cannot be opened.
    """
    try:
        file = (take_folder if folder else take)(path, patience_s)
    except NoLocks as error:
        if without is not None:
            without(str(error.strerror))
        yield False
        return
    if file is None:
        raise UserError(taken)
    try:
        yield True
    finally:
        os.close(file)


def _hold(file: int, path: PathLike, patience_s: float) -> int | None:
    try:
        end = time.monotonic() + patience_s
        while not _try(file, True, path):
            if time.monotonic() > end:
                os.close(file)
                return None
            time.sleep(0.05)
    except BaseException:
        os.close(file)
        raise
    return file


def is_mine(file: int) -> bool:
    """Whether an inherited open file holds its lock, or gets it now; false if another process has it."""
    with contextlib.suppress(OSError):
        return _try(file, True, file)
    return False


def is_held(path: PathLike) -> bool:
    """Whether some process holds the lock of a file; false where there are no locks."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, NoLocks):
        file = os.open(str(path), os.O_RDONLY | _OPEN)
        try:
            return not _try(file, False, path)
        finally:
            os.close(file)
    return False
