"""The versions of the packages that a run was made with."""

import functools
import importlib.metadata
import platform
import re
from pathlib import Path

from modprompt import places
from modprompt.version import __version__

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@functools.cache
def commit() -> str:
    """The commit of the checkout that this package is used from; empty outside of one, as in other codebases."""
    if not (places.is_checkout() and places.constraints().is_file()):
        return ""
    try:
        return _head(places.ROOT / ".git")
    except (OSError, ValueError):  # ValueError: no text
        return ""


def _head(git: Path) -> str:
    """The commit that is checked out, from Git's own files, since Git may not be installed."""
    if git.is_file():  # an additional working tree
        git = git.parent / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
    said = (git / "HEAD").read_text(encoding="utf-8").strip()
    branch = said.partition("ref:")[2].strip()
    if branch and (shared / branch).is_file():
        said = (shared / branch).read_text(encoding="utf-8").strip()
    elif branch:
        packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
        said = next((line.split()[0] for line in packed if line.endswith(f" {branch}")), "")
    return said if _COMMIT.fullmatch(said) else ""


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
