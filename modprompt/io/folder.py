"""A run's output folder belongs to one process at a time, and to the children that it hands its lock to.

A process that takes it says for which run: a folder of another run is refused here, for programs of all codebases.
"""

import contextlib
import errno
import os
import warnings
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io import holding, lock, test_parts
from modprompt.io.atomic import remove_parts
from modprompt.io.paths import is_link
from modprompt.io.safe_open import PathLike

LOCK = "job/lock"
HANDED = "MODPROMPT_LOCK"  # in the environment: the number of the open lock that a parent hands over
GONE = "was deleted or replaced while the run was at work"


class Busy(UserError):
    """Another process is at work in the folder."""


_held: dict[str, int | None] = {}  # by real path: what this process holds; None where there are no locks
_handed: set[int] = set()  # open locks that a parent has handed over


def _let_go() -> None:
    """In a forked child (a data loader's worker outlives a killed run by seconds): the lock is not its own."""
    for file in (*_held.values(), *_handed):
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)
    _held.clear()
    _handed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class _PartsOfRuns(Container[str]):
    """Names of the files in a run's inner folders; those of others, kept there too, are not the run's."""

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return name == "checkpoint" or name.startswith("model") or name in test_parts.ALL


def path_of(folder: PathLike) -> Path:
    """The lock file of a run's folder."""
    return Path(folder) / LOCK


def is_held(folder: PathLike) -> bool:
    """Whether some process runs in a folder.

    Raises:
        UserError: if its lock cannot be looked at, e.g. because it is a link.
    """
    path = path_of(folder)
    try:
        return lock.is_held(path)
    except OSError as error:
        raise UserError(f"cannot tell whether a run is at work in {folder}: {path} {_why_not(error)}") from None


def _why_not(error: OSError) -> str:
    if error.errno in (errno.ELOOP, getattr(errno, "EMLINK", errno.ELOOP)):  # how systems report O_NOFOLLOW
        return "is a link: remove it"
    return f"cannot be opened ({error.strerror})"


def handing_over(file: int | None) -> Mapping[str, str]:
    """What a child's environment must hold to take over an open lock, which it must also inherit."""
    return {} if file is None else {HANDED: str(file)}


def _is_handed_over(path: Path) -> bool:
    number = os.environ.get(HANDED, "")
    if not number.isdecimal():
        return False
    try:
        same = os.path.samestat(os.fstat(int(number)), path.stat())
    except (OSError, OverflowError):
        return False
    if same and lock.is_mine(int(number)):
        _handed.add(int(number))
        return True
    return False


def take(folder: PathLike, patience_s: float = 2.0) -> int | None:
    """Take a folder's lock and remove what killed writers left there.

    Returns:
        The open lock; None, with a warning, where the file system has no locks.

    Raises:
        Busy: if another process has it.
        UserError: if the folder cannot be written.
    """
    try:
        file = lock.take(path_of(folder), patience_s)
    except lock.NoLocks as error:
        warnings.warn(f"{folder}: {error.strerror}, so nothing keeps two runs apart there", stacklevel=2)
        return None
    except OSError as error:
        if is_link(path_of(folder)):
            raise UserError(f"--output-dir: {path_of(folder)} {_why_not(error)}") from None
        raise UserError(f"--output-dir: cannot write into {folder} ({error.strerror})") from None
    if file is None:
        raise Busy(f"another run is at work in {folder}: wait for its end, or give another --output-dir")
    remove_parts(folder)
    for entry in os.scandir(str(folder)):
        if entry.is_dir(follow_symlinks=False) and not path_of(entry.path).exists():  # else it is another run's
            remove_parts(entry.path, None if entry.name == "job" else _PartsOfRuns())
    return file


def keep(folder: PathLike, run: holding.Begins | None = None) -> str:
    """Hold a folder until this process ends, unless it holds it already, or its parent does.

    Args:
        folder: its path.
        run: what begins there; checked if this process did not hold the folder before.

    Returns:
        A message on what the run overwrites; mostly empty.

    Raises:
        UserError: as take, and as holding.require_own.
    """
    real = os.path.realpath(str(folder))
    if real in _held:
        return ""
    taken = not _is_handed_over(path_of(folder))
    if taken:
        _held[real] = take(folder)
    try:
        return "" if run is None else holding.require_own(folder, run)
    except UserError:
        if taken:
            release(folder)
        raise


def is_still(folder: PathLike, file: int | None) -> bool:
    """Whether a folder is the one whose lock was taken, neither deleted since nor another one of its name.

    Args:
        folder: its path.
        file: the open lock; None where the file system has none, so that only a folder that is gone is noticed.
    """
    return path_of(folder).exists() if file is None else lock.is_of(file, path_of(folder))


def require_still(folder: PathLike) -> None:
    """Raise UserError if a folder that this process keeps was deleted or replaced: what it writes would be lost.

    Does nothing if it keeps none.
    """
    real = os.path.realpath(str(folder))
    files = [_held[real]] if real in _held else list(_handed)
    if folder and files and not any(is_still(folder, file) for file in files):
        raise UserError(f"the output folder {folder} {GONE}: start the run again")


def release(folder: PathLike) -> None:
    """Release a kept folder; does nothing if it is not kept."""
    file = _held.pop(os.path.realpath(str(folder)), None)
    if file is not None:
        os.close(file)


@contextlib.contextmanager
def hold(folder: PathLike, run: holding.Begins | None = None) -> Iterator[str]:
    """Hold a folder within a block; an empty name is no folder.

    Args:
        folder: its path.
        run: as for keep, whose message the block gets.

    Raises:
        UserError: as keep.
    """
    if not folder or os.path.realpath(str(folder)) in _held:
        yield ""
        return
    said = keep(folder, run)
    try:
        yield said
    finally:
        release(folder)
