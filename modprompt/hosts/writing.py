"""The files of an installation, written into a codebase and taken out of it; cut off anywhere, either can go on."""

import os
import shutil
import stat
from pathlib import Path
from typing import Dict, Iterable, List, Optional

from modprompt.hosts.host import Host
from modprompt.hosts.manifest import MANIFEST, Installed, digest, folders_of, require_no_links
from modprompt.hosts.train_line import has_line, with_line, without_line
from modprompt.storage.parts import part_of, remove_parts
from modprompt.storage.paths import inside, is_link

OLD_ASIDE = ".modprompt-part"  # of files that versions before this one left when they were killed


def is_same(path: Path, content: bytes) -> bool:
    """Whether a file is there, is no link, and has this content."""
    return not is_link(path) and path.is_file() and path.read_bytes() == content


def no_longer(folder: Path, files: Dict[str, bytes], installed: Optional[Installed]) -> List[str]:
    """Files of an earlier installation that are there, but belong to this one no more."""
    return [path for path in (installed.files if installed else {}) if path not in files and (folder / path).is_file()]


def install(host: Host, files: Dict[str, bytes], installed: Optional[Installed]) -> int:
    """Write what differs, the import line last; returns the number of files written or removed.

    Files that belong to the installation no more go, but for those that were changed since.

    Raises:
        OSError: if something cannot be written; a first installation is taken back then.
    """
    folder = host.folder
    differing = [path for path in files if not is_same(folder / path, files[path])]
    complete = installed is not None and set(installed.files) == set(files) and has_line(host.program)
    if complete and not differing:
        _remove_leftovers(folder, files)
        return 0
    before = installed or Installed({}, [])
    obsolete = [path for path in no_longer(folder, files, installed) if before.is_untouched(folder, path)]
    missing = [name for name in folders_of(files) if not (folder / name).is_dir()]
    new = {path: digest(content) for path, content in files.items()}
    folders = sorted({"modprompt", *missing, *before.folders})
    owned = Installed({**before.files, **new}, folders, before.files)
    try:
        (folder / "modprompt").mkdir(exist_ok=True)
        _remove_leftovers(folder, owned.files)
        _write(folder / MANIFEST, owned.text())  # first: what is written from now on is ours
        for name in missing:
            (folder / name).mkdir(exist_ok=True)
        for path in differing:
            _write(folder / path, files[path])
        for path in obsolete:
            (folder / path).unlink()
        _remove_empty(folder, set(folders) - set(folders_of(files)))
        _write(folder / MANIFEST, Installed(new, [name for name in folders if (folder / name).is_dir()]).text())
        if not has_line(host.program):
            _write(folder / "train.py", with_line(host.program))
    except (OSError, KeyboardInterrupt):
        if installed is None:
            remove(folder, owned)
        raise
    return len(differing) + len(obsolete) + (not has_line(host.program))


def remove(folder: Path, installed: Installed) -> List[str]:
    """Take an installation out, its list last; returns the files that were changed since and are therefore kept.

    Raises:
        UserError: if the way to one leads through a link; nothing is removed then.
    """
    require_no_links(folder, (*installed.files, *installed.folders, MANIFEST))
    program = folder / "train.py"
    if program.is_file() and without_line(program.read_bytes()) != program.read_bytes():
        _write(program, without_line(program.read_bytes()))
    present = [path for path in installed.files if (folder / path).is_file()]
    changed = [path for path in present if not installed.is_untouched(folder, path)]
    for path in set(present) - set(changed):
        (folder / path).unlink()
    _remove_leftovers(folder, installed.files)
    _remove_empty(folder, (name for name in installed.folders if name != "modprompt"))
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).unlink()
    _remove_empty(folder, ["modprompt"])
    return changed


def _write(path: Path, content: bytes) -> None:
    path = path.resolve() if path.name == "train.py" else path  # a linked train.py stays a link
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o755 if path.suffix == ".sh" else None
    with part_of(path) as file:
        file.write(content)
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)


def _remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed installations left beside the files of these names; only for whoever is alone there."""
    beside = [inside(folder, name, folder / MANIFEST) for name in (*names, MANIFEST)]
    for path in (*beside, (folder / "train.py").resolve()):
        remove_parts(path.parent, (path.name,))
        old = path.with_name(path.name + OLD_ASIDE)
        if old.exists():
            old.unlink()


def _remove_empty(folder: Path, names: Iterable[str]) -> None:
    """Remove folders in which nothing is left but what Python keeps of compiled files, the deepest first."""
    for name in sorted(names, key=len, reverse=True):
        cache = folder / name / "__pycache__"
        if cache.is_dir() and not is_link(cache):
            shutil.rmtree(str(cache))
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()
