"""Files that are either complete or not there: written under a name that nobody can guess, then renamed."""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Container, Iterator
from pathlib import Path
from typing import BinaryIO

from modprompt.io.safe_open import PathLike

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.part")


@contextlib.contextmanager
def part_of(path: PathLike, durable: bool = False) -> Iterator[BinaryIO]:
    """A new file, open for bytes, that replaces `path` if the block ends without an error, and is removed otherwise.

    Folders are made. A link at `path` is replaced, not followed. What is durable survives a power cut afterwards.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    file = open(aside, "xb")  # noqa: SIM115 - a context below
    try:
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(aside, path)
        if durable:
            with contextlib.suppress(OSError):  # not every file system makes names last
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        raise


def copy_whole(source: PathLike, path: PathLike) -> None:
    """Copy a file to one that is either complete or not there."""
    with open(source, "rb") as original, part_of(path) as file:
        shutil.copyfileobj(original, file)


def remove_parts(folder: PathLike, names: Container[str] | None = None) -> None:
    """Remove what killed writers of these files (default all) left in a folder; only for use under its lock."""
    for name, path in _parts(folder):
        if names is None or name in names:
            os.unlink(path)


def names_of_parts(folder: PathLike) -> set[str]:
    """The names of the files that are being written in a folder, or whose writers were killed."""
    return {name for name, _ in _parts(folder)}


def _parts(folder: PathLike) -> Iterator[tuple[str, str]]:
    """(name of the finished file, path) of each part in a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(str(folder)):
            found = _PART.fullmatch(entry.name)
            if found and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield found.group("name"), entry.path
