"""A run's output folder belongs to one process at a time, and to the children that it hands its lock to."""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional

from modprompt.errors import UserError
from modprompt.storage import lock
from modprompt.storage.parts import remove_parts

LOCK = "job/lock"
HANDED = "MODPROMPT_LOCK"  # in the environment: the number of the open lock that a parent hands over


class Busy(UserError):
    """Another process is at work in the folder."""


_held: Dict[str, Optional[int]] = {}  # by real path: what this process holds; None where there are no locks


def path_of(folder) -> Path:
    """The lock file of a run's folder."""
    return Path(folder) / LOCK


def is_held(folder) -> bool:
    """Whether some process runs in a folder."""
    return lock.is_held(path_of(folder))


def handing_over(file: Optional[int]) -> Mapping[str, str]:
    """What a child's environment must hold to go on with an open lock, which it also must inherit."""
    return {} if file is None else {HANDED: str(file)}


def _is_handed_over(path: Path) -> bool:
    number = os.environ.get(HANDED, "")
    if not number.isdigit():
        return False
    try:
        return os.path.samestat(os.fstat(int(number)), path.stat())
    except OSError:
        return False


def take(folder, patience_s: float = 2.0) -> Optional[int]:
    """Take a folder's lock and clear away what killed writers left there.

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
        raise UserError(f"--output-dir: cannot write into {folder} ({error.strerror})") from None
    if file is None:
        raise Busy(f"another run is at work in {folder}: wait for its end, or give another --output-dir")
    for place in (folder, *(entry.path for entry in os.scandir(str(folder)) if entry.is_dir(follow_symlinks=False))):
        remove_parts(place)
    return file


def keep(folder) -> None:
    """Hold a folder until this process ends, unless it or its parent holds it already.

    Raises:
        UserError: as take.
    """
    real = os.path.realpath(str(folder))
    if real not in _held and not _is_handed_over(path_of(folder)):
        _held[real] = take(folder)


def release(folder) -> None:
    """Give a kept folder free; nothing where it is not kept."""
    file = _held.pop(os.path.realpath(str(folder)), None)
    if file is not None:
        os.close(file)


@contextlib.contextmanager
def hold(folder) -> Iterator[None]:
    """Hold a folder within a block; an empty name is no folder.

    Raises:
        UserError: as take.
    """
    if not folder or os.path.realpath(str(folder)) in _held:
        yield
        return
    keep(folder)
    try:
        yield
    finally:
        release(folder)
