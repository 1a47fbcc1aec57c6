"""Files as bytes or text; what cannot be read is one line."""

import errno
import os
import threading
from pathlib import Path
from typing import BinaryIO

from modprompt.errors import UserError

PathLike = str | Path
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # nothing is wrong with the file


class Refused(ValueError):
    """What a file holds is not what its kind may hold; the text says what, and a caller that knows the path adds it."""


def open_regular(path: PathLike) -> BinaryIO:
    """A file, open to read bytes.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is a folder, or may not be read.
        OSError: if this process may open no more files.
    """
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no file at {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise
        raise UserError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from None


def read_bytes(path: PathLike) -> bytes:
    """All of a file; raises as open_regular."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: PathLike) -> str:
    """All of a file of UTF-8 text, without a mark in front, lines ended by a plain newline.

    Raises:
        FileNotFoundError: if there is none.
        UserError: as open_regular, or if it is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
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
