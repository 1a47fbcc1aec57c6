"""Remove an installation of 0.2.0, which wrote 285 files into a codebase; the next version drops this module."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.paths import inside_without_links, is_inside
from modprompt.io.safe_open import read_text

_LIST = "modprompt/installed.json"
_ROOMS = ("modprompt/", "configs/trainers/MPL/", "configs/trainers/ModMPL/", "scripts/mpl/", "scripts/modmpl/")


def is_there(folder: Path) -> bool:
    """Whether a codebase has the file list of such an installation."""
    return (folder / _LIST).is_file()


def require_none(folder: Path) -> None:
    """Raise UserError if a codebase has such an installation, or a modprompt/ of its own."""
    if is_there(folder):
        raise UserError(
            f"{folder} has an installation of modprompt 0.2.0: modprompt install {folder} --uninstall first"
        )
    if (folder / "modprompt").exists():
        raise UserError(f"{folder / 'modprompt'} would be imported in place of pip's modprompt: move it away")


class Written(NamedTuple):
    """What such an installation wrote: digests of files by path, those before an update that was cut off, folders."""

    files: dict[str, str]
    before: dict[str, str]
    folders: list[str]


def read(folder: Path) -> Written:
    """The file list of such an installation.

    Raises:
        UserError: if it is damaged, or names what no installation wrote.
    """
    where = folder / _LIST
    try:
        found: Any = json_text.parse(read_text(where))
        written = Written(dict(found["files"]), dict(found.get("earlier", {})), [*found["folders"]])
    except (ValueError, KeyError, TypeError, AttributeError):
        rooms = ", ".join(_ROOMS)
        raise UserError(f"{where} is damaged: remove those of {rooms} by hand that are not yours") from None
    for name in (*written.files, *written.before):
        _require_ours(where, name, str(name).startswith(_ROOMS))
    for name in written.folders:
        _require_ours(where, name, any(f"{name}/".startswith(room) or room.startswith(f"{name}/") for room in _ROOMS))
    return written


def _require_ours(where: Path, name: object, is_ours: bool) -> None:
    if not is_inside(name) or not is_ours:
        raise UserError(f"{where} names {str(name)[:120]!r}, which no installation wrote: nothing is removed")


def remove(folder: Path) -> list[str]:
    """Remove such an installation, its file list last.

    Returns:
        The files that were changed since, which are kept.

    Raises:
        UserError: as read, or if a path leads through a link; nothing is removed then.
    """
    files, before, folders = read(folder)
    names = [*dict.fromkeys([*files, *before])]
    for name in (*names, *folders):
        inside_without_links(folder, name, folder / _LIST)
    present = [name for name in names if (folder / name).is_file()]
    changed = [name for name in present if _digest(folder / name) not in (files.get(name), before.get(name))]
    for name in set(present) - set(changed):
        (folder / name).unlink()
    _remove_empty(folder, [name for name in folders if name != "modprompt"])
    (folder / _LIST).unlink()
    _remove_empty(folder, ["modprompt"])
    return changed


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remove_empty(folder: Path, names: list[str]) -> None:
    """Remove folders that hold nothing but Python's compiled files, the deepest first."""
    for name in sorted(names, key=len, reverse=True):
        shutil.rmtree(str(folder / name / "__pycache__"), ignore_errors=True)
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()
