"""The list of what an installation wrote into a codebase: written first, followed with care, taken out last."""

import hashlib
import json
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional

from modprompt.errors import UserError
from modprompt.storage import json_text
from modprompt.storage.opening import read_text
from modprompt.storage.paths import inside_without_links, is_inside

MANIFEST = "modprompt/installed.json"
# what an installer writes to: a list that names anything else is not followed
ROOMS = ("modprompt", "configs/trainers/MPL", "configs/trainers/ModMPL", "scripts/mpl", "scripts/modmpl")


class ForeignList(UserError):
    """A list of installed files that no installer wrote."""


class Installed(NamedTuple):
    """What an installation wrote.

    files: path in the codebase: digest of what was written.
    folders: what it made.
    earlier: path: digest before, of an update that was cut off.
    """

    files: Dict[str, str]
    folders: List[str]
    earlier: Dict[str, str] = {}

    def text(self) -> bytes:
        """The list as it stands in the file; `earlier` alone while it is needed."""
        written = {"files": self.files, "folders": self.folders}
        return json.dumps({**written, "earlier": self.earlier} if self.earlier else written, indent=1).encode()

    def is_untouched(self, folder: Path, path: str) -> bool:
        """Whether a file of the codebase is as it was installed."""
        if not (folder / path).is_file():  # a pipe would be waited for
            return False
        return digest((folder / path).read_bytes()) in (self.files.get(path), self.earlier.get(path))


def digest(content: bytes) -> str:
    """What the list says of a file's content."""
    return hashlib.sha256(content).hexdigest()


def folders_of(paths: Iterable[str]) -> List[str]:
    """All folders above files, by path in the codebase."""
    return sorted({parent.as_posix() for path in paths for parent in Path(path).parents if parent != Path()})


def read_manifest(folder: Path) -> Optional[Installed]:
    """What an earlier installation wrote into a codebase, None if there was none.

    Raises:
        UserError: if the file is damaged.
        ForeignList: if it names what no installer writes.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = json_text.parse(read_text(path))
        installed = Installed(dict(found["files"]), list(found["folders"]), dict(found.get("earlier", {})))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: --uninstall first") from None
    for name in (*installed.files, *installed.earlier):
        _require_ours(folder, name, any(f"{name}".startswith(f"{room}/") for room in ROOMS))
    for name in installed.folders:
        _require_ours(folder, name, any(_one_above_the_other(f"{room}/", f"{name}/") for room in ROOMS))
    return installed


def _one_above_the_other(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _require_ours(folder: Path, name: object, is_ours: bool) -> None:
    """Raise ForeignList unless a path of the list is one that an installer writes to."""
    if not is_inside(name) or name == MANIFEST or not is_ours:
        raise ForeignList(
            f"{folder / MANIFEST} names {str(name)[:120]!r}, which no installation writes: nothing is done by it; "
            "delete that file, and --uninstall takes out what this version installs"
        )


def require_no_links(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if a file of an installation, or a folder on the way to it, is a link."""
    for name in names:
        inside_without_links(folder, name, folder / MANIFEST)
