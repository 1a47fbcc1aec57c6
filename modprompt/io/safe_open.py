"""Files as bytes or text; what cannot be read is one line."""

import errno
from pathlib import Path
from typing import BinaryIO

from modprompt.errors import UserError

PathLike = str | Path
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # nothing is wrong with the file


class Refused(ValueError):
    """What a file holds is not what its kind may hold; the text says what, and a caller that knows the path adds it."""


def open_regular(path: PathLike) -> BinaryIO:
    """A file, open to read bytes.

    Raises FileNotFoundError; UserError if it is a folder or may not be read; OSError if no more files can be opened.
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

    Raises as open_regular, and UserError if it is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not UTF-8 text ({error.reason} at byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
