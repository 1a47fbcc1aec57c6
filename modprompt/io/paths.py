"""Paths that a file names: relative, without `..`, and inside the folder they belong to."""

import itertools
import os
import stat
from pathlib import Path, PureWindowsPath

from modprompt.errors import UserError
from modprompt.io.files import PathLike


def _parts(name: object) -> list[str]:
    """The parts of a relative path; none if it is no such path."""
    if not isinstance(name, str) or "\0" in name or name.startswith(("/", "\\")):
        return []
    if ":" in name and PureWindowsPath(name).drive:
        return []
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return [] if ".." in parts else parts


def of_user(path: PathLike) -> Path:
    """A path with a leading ~ or ~NAME replaced by that user's folder; UserError if that user is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: the folder of that user is not known: write it out, or begin with ./~") from None


def free_name(path: str) -> str:
    """A path, or with a number after it (-2, -3, ...) if there is something of that name."""
    later = (f"{path}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([path], later) if not os.path.lexists(name))


def is_inside(name: object) -> bool:
    """Whether a text is a relative path without `..`, on any system; it reads no disk."""
    return bool(_parts(name))


def inside(root: PathLike, name: object, source: PathLike) -> Path:
    """The path below a folder that a file (source, for the message) names, to read from: links are followed.

    Raises UserError if it is no relative path, or has `..` in it.
    """
    if not is_inside(name):
        raise UserError(f"{source} names the path {str(name)[:120]!r}, outside of {root}: not followed")
    return Path(root) / str(name)


def inside_without_links(root: PathLike, name: object, source: PathLike) -> Path:
    """As `inside`, to write to or to delete: UserError if the path or a folder on the way below `root` is a link."""
    path = inside(root, name, source)
    at = Path(root)
    for part in _parts(name):
        at = at / part
        if is_link(at):
            raise UserError(f"{at} is a link: nothing is written or deleted through it; put the real thing there")
    return path


def is_link(path: PathLike) -> bool:
    """Whether a path is a symbolic link, or on Windows a junction."""
    try:
        found = os.lstat(str(path))
    except (OSError, ValueError):
        return False
    reparse = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_file_attributes", 0) & reparse)
