"""Where a reader keeps its split file and few-shot lists: beside the data, or elsewhere if that is read-only."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


class Storage:
    """The folders of one data set's own files.

    Args:
        folder: the data set's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if os.access(folder, os.W_OK):
            self.own = folder
        else:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            place = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
            self.own = cache / "modprompt" / f"{folder.name}-{place}"
            print(f"{folder} is read-only: split and few-shot lists are kept in {self.own}")

    def find(self, name: str) -> Path | None:
        """An existing file of that name, beside the data or in this reader's own folder."""
        return next((folder / name for folder in (self.folder, self.own) if (folder / name).is_file()), None)

    @contextlib.contextmanager
    def lock(self):
        """One process at a time: of several that start at once the first makes the files, the others find them."""
        self.own.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        folder = self.own / "split_fewshot"
        folder.mkdir(exist_ok=True)
        with (folder / ".lock").open("w") as file:
            with contextlib.suppress(OSError):  # a file system without locks; files still appear whole
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
