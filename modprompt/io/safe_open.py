"""Regular files, opened without waiting: a pipe or a device given as a file is refused."""

import errno
import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from modprompt.errors import UserError

PathLike = str | Path
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 16


_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # nothing is wrong with the file


class Refused(ValueError):
    """What a file holds is not what its kind may hold; the text says what, and a caller that knows the path adds it."""


def _require_regular(mode: int, path: PathLike) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a device or the like"
        raise UserError(f"{path} is {kind}, not a file: give a regular file")


def open_regular(path: PathLike) -> BinaryIO:
    """A regular file, open to read bytes; links are followed.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is anything else, or may not be read.
        OSError: if this process may open no more files.
    """
    try:
        _require_regular(os.stat(str(path)).st_mode, path)  # opening a device can have effects
        file = os.open(str(path), _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no file at {path}") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path} ({reason})") from None
    try:
        _require_regular(os.fstat(file).st_mode, path)  # it may have been exchanged since
    except UserError:
        os.close(file)
        raise
    return os.fdopen(file, "rb")


def _read_on(file: BinaryIO, most: int) -> bytes:
    """All of a file, or more than `most` bytes of it; the size that a file system reports may be 0, as in /proc."""
    asked = min(most, os.fstat(file.fileno()).st_size) + 1  # memory is allocated for all that is asked for
    blocks: list[bytes] = []
    have = 0
    while asked:
        blocks.append(file.read(asked))
        have += len(blocks[-1])
        at_end = len(blocks[-1]) < asked
        asked = 0 if at_end else min(max(have, _BLOCK), most + 1 - have)
    return b"".join(blocks)


def read_bytes(path: PathLike, most: int = 1 << 30) -> bytes:
    """All of a regular file.

    Args:
        path: the file.
        most: bytes that such a file can have.

    Raises:
        FileNotFoundError: if there is none.
        UserError: as `open_regular`, or if it is larger.
    """
    with open_regular(path) as file:
        content = _read_on(file, most)
    if len(content) > most:
        raise UserError(f"{path} is larger than {most:,} bytes, which no such file is")
    return content


def read_text(path: PathLike, most: int = 1 << 28) -> str:
    """All of a regular file of UTF-8 text, lines ended by a plain newline.

    Raises:
        FileNotFoundError: if there is none.
        UserError: as `read_bytes`, or if it is not UTF-8.
    """
    try:
        text = read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not UTF-8 text ({error.reason} at byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Bytes:
    """Bytes to read at any place: of a text in memory, or of an open file, from several threads.

    Args:
        content: bytes, or an open file; a file that is overwritten while it is read gives what is there then.
    """

    def __init__(self, content: bytes | BinaryIO):
        self.memory: bytes | None = None
        self.file: int | None = None
        if isinstance(content, bytes):
            self.memory, self.size = content, len(content)
        else:
            self.file = content.fileno()
            self.size = os.fstat(self.file).st_size
        self._lock = threading.Lock()

    def read(self, start: int, count: int) -> bytes:
        """`count` bytes, beginning at `start`.

        Raises:
            Refused: if there are not as many.
        """
        if start < 0 or count < 0 or start + count > self.size:
            raise Refused("it is cut off")
        content = self._read(start, count)
        while len(content) < count:
            more = self._read(start + len(content), count - len(content))
            if not more:
                raise Refused("it was cut off while it was read")
            content += more
        return content

    def _read(self, start: int, count: int) -> bytes:
        if self.memory is not None:
            return self.memory[start : start + count]
        assert self.file is not None  # one of the two is there
        if hasattr(os, "pread"):
            return os.pread(self.file, count, start)
        with self._lock:
            os.lseek(self.file, start, os.SEEK_SET)
            return os.read(self.file, count)
