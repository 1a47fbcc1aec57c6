"""The versions of the packages that a run was made with."""

import functools
import importlib.metadata
import platform
import subprocess

from modprompt import places
from modprompt.version import __version__


@functools.cache
def commit() -> str:
    """The commit of the checkout that this package is used from; empty outside of one, or without Git."""
    git = places.ROOT / ".git"  # nothing is searched: the package may lie in a folder of another repository
    if not (places.is_checkout() and git.exists()):
        return ""
    try:
        asked = subprocess.run(["git", f"--git-dir={git}", "rev-parse", "--verify", "HEAD"], capture_output=True)
    except OSError:
        return ""
    return "" if asked.returncode else asked.stdout.decode("ascii", "replace").strip()


@functools.cache
def _installed(name: str) -> str | None:
    """A package's version, which a process reads once; None for an extra that is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what is installed of constraints.txt, which hosts do not have."""
    found = {"python": platform.python_version(), "modprompt": __version__}
    found.update({"commit": commit()} if commit() else {})
    path = places.constraints()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for name in (line.partition("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")):
        version = _installed(name)
        found.update({name: version} if version is not None else {})
    return found
