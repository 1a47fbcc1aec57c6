"""What every run imports, imported once, in a process from which runs are forked; and whether they may be forked."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from modprompt import places
from modprompt.cli import train
from modprompt.programs import one_line

ALSO = ("sklearn.metrics",)  # what runs import later, slowly


def stamps(files: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Size and time of the last change (ns) of files, by path; zeros for a missing one."""
    found = {}
    for file in files:
        found[str(file)] = (0, 0)
        with contextlib.suppress(OSError):
            stat = file.stat()
            found[str(file)] = (stat.st_size, stat.st_mtime_ns)
    return found


def _of_package() -> Iterator[Path]:
    return (file for file in places.PACKAGE.rglob("*") if file.is_file() and file.parent.name != "__pycache__")


def _of_modules() -> Iterator[Path]:
    return (Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None)))


@contextlib.contextmanager
def _said_into(file: BinaryIO) -> Iterator[None]:
    """In this context all output of this process, however it is written, goes into a file."""
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(file.fileno(), number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def _threads() -> int:
    """The number of this process's threads, with those of libraries if the system tells."""
    with contextlib.suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir()))
    return threading.active_count()


def _end_pools() -> None:
    """Fork once, only so that OpenBLAS ends its threads, which start with numpy, until it is used again."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _has_card_open() -> bool:
    """Whether this process has used a GPU's driver: then its children could not use the GPU."""
    if sys.modules["torch"].cuda.is_initialized():
        return True
    open_files = Path("/proc/self/fd")
    for file in open_files.iterdir() if open_files.is_dir() else ():
        with contextlib.suppress(OSError):  # the listing's own file is closed again
            if str(file.readlink()).startswith("/dev/nvidia"):
                return True
    return False


class Imported:
    """The imports that runs share; made for the first run, without starting a computation or a GPU.

    Attributes:
        said: the imports' output, which belongs into the console of every run.
    """

    def __init__(self) -> None:
        self.said = b""
        self._fault: str | None = None  # None: nothing was imported
        self._stamps: dict[str, tuple[int, int]] = {}

    def why_not(self) -> str:
        """Why runs must not be forked from this process; empty if they may."""
        if not hasattr(os, "fork") or sys.platform == "darwin":
            return "this system has no safe fork"
        if self._fault is None:
            self._fault = self._import()
        if self._fault:
            return self._fault
        if _threads() > 1:
            return "what they import starts threads"
        return "what they import uses a GPU" if _has_card_open() else ""

    def _import(self) -> str:
        of_package = stamps(_of_package())  # first: what changes during the imports counts as changed
        fault = ""
        try:
            with tempfile.TemporaryFile() as file:
                with _said_into(file):
                    train.import_all()
                    for name in ALSO:
                        with contextlib.suppress(ImportError):
                            importlib.import_module(name)
                file.seek(0)
                self.said = file.read()
        except (Exception, SystemExit) as error:  # a run without forking will show where
            fault = f"what they import cannot be imported ({one_line(error)})"
        self._stamps = {**stamps(_of_modules()), **of_package}
        _end_pools()
        gc.collect()
        gc.freeze()  # children neither scan nor copy these objects
        return fault

    def changed(self) -> str:
        """Which file has changed since it was imported, and when; empty if none."""
        now = stamps(Path(file) for file in self._stamps)
        file = next((file for file, stamp in self._stamps.items() if now[file] != stamp), "")
        since = time.strftime("%H:%M:%S", time.localtime(now[file][1] / 1e9)) if file else ""
        return f"{file} has changed ({since})" if file else ""
