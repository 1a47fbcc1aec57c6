"""Where a reader keeps its split file and few-shot lists: next to the data, or elsewhere if that is read-only."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from modprompt.io import lock
from modprompt.io.files import is_inside, remove_parts

OF_OWN_IMAGES = ("classnames.txt", "split_ImageFolder.json")  # what a folder of own images has beside them


def cache_of(folder: Path) -> Path:
    """Where the files of a data set go if its folder is read-only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return cache / "modprompt" / f"{folder.name}-{place}"


def find_recorded(root: Path, name: str) -> str | None:
    """The path of a file that a result names; None if it is not there."""
    if not is_inside(name):
        return None
    first, _, rest = name.partition("/")
    places = (root / name, cache_of(root / first) / rest, cache_of(root) / name)
    return next((str(path) for path in places if path.is_file()), None)


class Storage:
    """The folders of one data set's own files.

    Args:
        folder: the data set's folder.

    Attributes:
        own: where files are written: the folder, or a cache if that is read-only.
        folders: both, or the one that they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder if os.access(folder, os.W_OK) else cache_of(folder)
        self.folders = list(dict.fromkeys([self.folder, self.own]))

    def find(self, name: str) -> Path | None:
        """An existing file of that name, next to the data or in this reader's own folder."""
        return next((folder / name for folder in self.folders if name and (folder / name).is_file()), None)

    def recorded_name(self, path: Path, root: Path) -> str:
        """The name that results give a split file or few-shot list: its path below the root of the data sets."""
        inner = path.relative_to(self.own if self.own in path.parents else self.folder)
        return (self.folder.relative_to(root) / inner).as_posix()

    @contextlib.contextmanager
    def lock(self, lists: str) -> Iterator[None]:
        """One process at a time: of several that start together, the first makes the files and the others find them.

        The process that has it removes what killed writers left.

        Args:
            lists: the folder of few-shot lists, which is made; empty: none is, and the lock's file goes at the end.
        """
        taken = f"another process makes the lists of {self.own}"  # never shown: it waits without limit
        mark = self.own / lists / (".lock" if lists else ".modprompt.lock")
        with lock.alone(mark, taken, patience_s=float("inf"), removes=not lists) as locks:
            for folder in {self.own, mark.parent} if locks else ():
                remove_parts(folder)
            yield
