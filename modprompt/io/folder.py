"""A run's output folder belongs to one process at a time, which takes its lock and says for which run.

A folder of another run is refused here, for programs of all codebases. Who starts runs in processes of their own has
another lock while it prepares the folder and waits; the run itself ends if a third process was faster.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io import holding, lock, test_parts
from modprompt.io.files import PathLike, remove_parts
from modprompt.io.paths import is_link

LOCK = "job/lock"
STARTER = "job/starter"  # the lock of the process that starts the run
GONE = "was deleted or replaced while the run was at work"
_BUSY = "another run is at work in {}: wait for its end, or give another --output-dir"


class Busy(UserError):
    """Another process is at work in the folder."""


_held: dict[str, lock.Lock] = {}  # by real path: what this process holds


def path_of(folder: PathLike) -> Path:
    """The lock file of a run's folder."""
    return Path(folder) / LOCK


def is_held(folder: PathLike, names: tuple[str, ...] = (LOCK, STARTER)) -> bool:
    """Whether some process runs in a folder, or (STARTER) starts a run there; UserError if a lock is e.g. a link."""
    try:
        return any(lock.is_held(path := Path(folder) / name) for name in names)
    except OSError as error:
        raise UserError(f"cannot tell whether a run is at work in {folder}: {_why_not(path, error)}") from None


def _why_not(path: Path, error: OSError) -> str:
    return f"{path} is a link: remove it" if is_link(path) else f"{path} cannot be opened ({error.strerror})"


def _taken(path: Path, folder: PathLike, patience_s: float = 2.0) -> lock.Lock:
    try:
        held = lock.take(path, patience_s)
    except OSError as error:
        raise UserError(f"--output-dir: cannot write into {folder}: {_why_not(path, error)}") from None
    if held is None:
        raise Busy(_BUSY.format(folder))
    if not held.works:
        warnings.warn(f"{folder}: {lock.NO_LOCKS}, so nothing keeps two runs apart there", stacklevel=2)
    return held


def take(folder: PathLike, patience_s: float = 2.0) -> lock.Lock:
    """Take a folder's lock, with a warning where the file system has none, and remove what killed writers left there.

    Raises Busy if another process has it, and UserError if the folder cannot be written.
    """
    held = _taken(path_of(folder), folder, patience_s)
    if held.works:
        remove_parts(folder)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and not path_of(entry.path).exists():  # else it is another run's
                ours = ("model*", "checkpoint", *test_parts.ALL)  # files of others are kept there, too
                remove_parts(entry.path, *(() if entry.name == "job" else ours))
    return held


@contextlib.contextmanager
def starting(folder: PathLike) -> Iterator[lock.Lock]:
    """The lock of who starts a run in a process of its own, held in the block; raises as take."""
    held = _taken(Path(folder) / STARTER, folder)
    try:
        if is_held(folder, (LOCK,)):
            raise Busy(_BUSY.format(folder))
        yield held
    finally:
        held.release()


def keep(folder: PathLike, run: holding.Begins | None = None) -> str:
    """Hold a folder until this process ends, unless it does already; `run`, which begins there, is checked.

    Returns a message on what the run overwrites, mostly empty; raises as take, and as holding.require_own.
    """
    real = os.path.realpath(folder)
    if real in _held:
        return ""
    _held[real] = take(folder)
    try:
        return "" if run is None else holding.require_own(folder, run)
    except UserError:
        _held.pop(real).release()
        raise


@contextlib.contextmanager
def hold(folder: PathLike, run: holding.Begins | None = None) -> Iterator[str]:
    """As keep, within a block, which gets the message; an empty name is no folder."""
    real = os.path.realpath(folder)
    if not folder or real in _held:
        yield ""
        return
    said = keep(folder, run)
    try:
        yield said
    finally:
        _held.pop(real).release()


def require_still(folder: PathLike) -> None:
    """Raise UserError if a folder that this process keeps was deleted or replaced: what it writes would be lost."""
    held = _held.get(os.path.realpath(folder)) if folder else None
    if held is not None and not held.is_there():
        raise UserError(f"the output folder {folder} {GONE}: start the run again")
