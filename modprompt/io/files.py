"""Files and paths: read as bytes or text, written whole under a name that nobody can guess, known by a hash.

What cannot be read is one line.
"""

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

from modprompt.errors import UserError

PathLike = str | Path


class Refused(ValueError):
    """What a file holds is not what its kind may hold; the text says what, and a caller that knows the path adds it."""


def of_user(path: PathLike) -> Path:
    """A path with a leading ~ or ~NAME replaced by that user's folder, if there is such a user."""
    return Path(os.path.expanduser(path))


def free_name(path: str) -> str:
    """A path, or with a number after it (-2, -3, ...) if there is something of that name."""
    later = (f"{path}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([path], later) if not os.path.lexists(name))


def is_inside(name: object) -> bool:
    """Whether a text is a relative path without `..`, on any system; it reads no disk."""
    if not isinstance(name, str) or "\0" in name or name.startswith(("/", "\\")):
        return False
    if ":" in name and PureWindowsPath(name).drive:
        return False
    parts = {*name.replace("\\", "/").split("/")} - {"", "."}
    return bool(parts) and ".." not in parts


def open_regular(path: PathLike) -> BinaryIO:
    """A file, open to read bytes; FileNotFoundError, UserError (a folder, no permission), or OSError of the machine."""
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"The file {path} does not exist.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file.") from None
    except (PermissionError, ValueError) as error:  # ValueError: a zero byte in the path
        raise UserError(f"Cannot read {path} ({getattr(error, 'strerror', None) or error}).") from None


def read_bytes(path: PathLike) -> bytes:
    """All of a file; raises as open_regular."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: PathLike) -> str:
    """All of a UTF-8 text, without a mark in front, plain newlines; raises as open_regular, UserError if it is none."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8 text ({error.reason} at byte {error.start}).") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def sha256_of(path: PathLike) -> str:
    """SHA-256 (hex) of a file's bytes; raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


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
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: PathLike, text: str) -> None:
    """Write a text file that is either complete or not there, with its folders."""
    with part_of(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON (indented by 2) whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def copy_whole(source: PathLike, path: PathLike) -> None:
    """Copy a file to one that is either complete or not there."""
    with open(source, "rb") as original, part_of(path) as file:
        shutil.copyfileobj(original, file)


def remove_parts(folder: PathLike, *names: str) -> None:
    """Remove what killed writers of these files (patterns; default all) left in a folder, under its lock."""
    for name in names or ("*",):
        for path in Path(folder).glob(f".{name}.{'[0-9a-f]' * 16}.part"):
            path.unlink()
